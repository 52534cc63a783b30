"""llama.cpp, through llama-cpp-python, on the shipped model and on an edit's two GGUF exports.

Shows: llama.cpp loads the shipped model and continues known facts greedily with the same text as `mobiedit generate`; with
the exported LoRA adapter at scale 1 it says Rome where it said Paris, in three rephrasings too, and other capitals stay; the
merged export does the same without an adapter.

Does not show: equal logits (llama.cpp rounds activations to 8 bits, we to 16), other models, other edits,
quantised formats other than Q8_0, llama.cpp on a GPU.
"""

import sys

import llama_cpp
import product as ours


def load(model, adapter=None):
    """A model as a function from prompt to greedy text."""
    lora = {"lora_path": str(adapter), "lora_scale": 1.0} if adapter else {}
    llama = llama_cpp.Llama(str(model), n_ctx=256, n_threads=1, n_gpu_layers=0, seed=0, verbose=False, **lora)

    def says(prompt):
        done = llama.create_completion(prompt, max_tokens=ours.NEW_TOKENS, temperature=0.0, repeat_penalty=1.0)
        return done["choices"][0]["text"]

    return says


def main():
    given = ours.arguments(__doc__)
    print(f"llama-cpp-python {llama_cpp.__version__}, seed {given.seed}")
    score, prompts = ours.Score(), ours.draw(given.facts, given.neighbours, given.seed)
    product = ours.Product(given.mobiedit)
    clean = load(ours.MODEL)
    ours.check_clean(score, product, clean, prompts)
    adapter = product.export("gguf-lora", "adapter.gguf")
    ours.check_edited(score, "gguf-lora", product, clean, load(ours.MODEL, adapter), prompts)
    merged = product.export("gguf", "merged.gguf")
    ours.check_edited(score, "gguf", product, clean, load(merged), prompts)
    return score.exit_code()


if __name__ == "__main__":
    sys.exit(main())
