"""transformers and PEFT, in PyTorch on the CPU, on the shipped model and on an edit's PEFT and merged exports.

Shows: transformers reads the shipped model (weights and tokenizer) from the GGUF file and continues known facts greedily with
the same text as `mobiedit generate`; with the exported PEFT folder it says Rome where it said Paris, in three rephrasings
too, other capitals stay, and with the adapter disabled it says Paris again; the merged GGUF says the same, and PEFT's own
merge of the adapter gives its weights, all others being untouched.

Does not show: equal logits (here all is F32, in ours the activations are 16-bit integers), other models, other edits, training
on top of the adapter.
"""

import sys

import peft
import product as ours
import torch
import transformers


def load(path):
    """A GGUF file's model, dequantised to F32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)
    return model.eval()


def speaker(model, tokenizer):
    """A model as a function from prompt to greedy text."""

    def says(prompt):
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**inputs, do_sample=False, max_new_tokens=ours.NEW_TOKENS, pad_token_id=0)
        new = out[0, inputs["input_ids"].shape[1] :]
        return tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    return says


def check_merge(score, merged, peft_merged, edited):
    """The merged export against PEFT's merge: F16 keeps 11 bits, so half a unit of the last is 2^-11 of a weight."""
    theirs, same = peft_merged.state_dict(), True
    for name, weight in merged.state_dict().items():
        if name != edited:
            same &= torch.equal(weight, theirs[name])
    score.check("gguf against PEFT's merge, all other tensors", same, "equal" if same else "differ")
    want, got = theirs[edited], merged.state_dict()[edited]
    bound = want.abs() * 2.0**-11 + 2.0**-24
    worst = ((got - want).abs() / bound).max().item()
    score.check(f"gguf against PEFT's merge, {edited}", worst <= 1.001, f"{worst:.3f} of F16's rounding")


def main():
    given = ours.arguments(__doc__)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, seed {given.seed}")
    score, prompts = ours.Score(), ours.draw(given.facts, given.neighbours, given.seed)
    product = ours.Product(given.mobiedit)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(ours.MODEL.parent), gguf_file=ours.MODEL.name)
    clean = speaker(load(ours.MODEL), tokenizer)
    ours.check_clean(score, product, clean, prompts)

    adapter = product.export("peft", "peft")
    adapted = peft.PeftModel.from_pretrained(load(ours.MODEL), str(adapter)).eval()
    ours.check_edited(score, "peft", product, clean, speaker(adapted, tokenizer), prompts)
    prompt = ours.PROMPT.replace("{}", ours.SUBJECT)
    with adapted.disable_adapter():
        off = speaker(adapted, tokenizer)(prompt)
    score.check(f"peft disabled, {prompt!r}", off == clean(prompt), repr(off))

    merged = load(product.export("gguf", "merged.gguf"))
    ours.check_edited(score, "gguf", product, clean, speaker(merged, tokenizer), prompts)
    edited = f"model.layers.{product.edit['layer']}.mlp.down_proj.weight"
    check_merge(score, merged, adapted.merge_and_unload(), edited)
    return score.exit_code()


if __name__ == "__main__":
    sys.exit(main())
