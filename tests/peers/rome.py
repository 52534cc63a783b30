"""ROME with backpropagation on records of a dataset: the row of the comparison that has exact gradients.

Writes one JSON line per record, {"record", "layer", "u", "lambda", "steps", "seconds"}, for `mobiedit eval --patches`, which judges
them as it judges our own edits. With `--judge`, judges them here as well, by PyTorch's greedy generation, and prints the score.

Variants, all with the rewrite prompts of our own edits, the loss of equation (3), and C from the built-in calibration statements:

- `rome`: the published code (github.com/kmeng01/rome, EasyEdit): u = C⁻¹ of the mean key, Adam at 0.5 for 24 steps or
  until the loss is below 0.05, Λ from the key and value of the bare prompt.
- `equation6`: the same, but with the mean key in Λ too, as the papers write it: Λ = (v* − W k*) / (uᵀk*).
- `balanced`: our key but for the echo, our anchor, essence prompts and aim (without patience) with exact gradients: what is left when the gradient estimate is taken out.

It does not run the product, and the product does not run it.
"""

import argparse
import json
import pathlib
import sys
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
import reference  # noqa: E402

# EasyEdit's settings for Llama and Qwen; its 25 steps are 25 losses, the last of which is not followed.
RATE, STEPS, ENOUGH, CLAMP = 0.5, 24, 5e-2, 4.0
# As in core: the ridge of C and of the balance, the aim, and steps to reach it.
RIDGE, BALANCE_RIDGE, PROBABILITY, MAX_STEPS = 0.1, 0.01, 0.98, 100
# The published objective's, and ours: essence prompts and the factor of their divergence.
ESSENCE = {"rome": (1, 0.0625), "equation6": (1, 0.0625), "balanced": (2, 0.125)}


class Solver:
    """C⁻¹ for C = KᵀK/n + λI, λ = ridge · trace(KᵀK/n) / d_ff, with K of all calibration tokens."""

    def __init__(self, keys):
        c = (keys.T @ keys).double() / len(keys)
        self.factor = torch.linalg.cholesky(c + RIDGE * c.trace() / len(c) * torch.eye(len(c), dtype=c.dtype))

    def __call__(self, key):
        return torch.cholesky_solve(key.double()[:, None], self.factor)[:, 0].float()


def search(edit, balanced):
    """Adam on δ. Returns δ (the best one seen, if `balanced` and all steps are made) and the number of steps."""
    delta = torch.zeros(edit.model.c.dim, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=RATE)
    longest, lowest, best = CLAMP * edit.value.norm(), float("inf"), delta
    for step in range(MAX_STEPS if balanced else STEPS):
        adam.zero_grad()
        loss, nll, greedy = edit.loss(delta)
        enough = greedy and nll <= -torch.log(torch.tensor(PROBABILITY)) if balanced else loss < ENOUGH
        if enough:
            return delta.detach(), step
        if loss.item() < lowest:
            lowest, best = loss.item(), delta.detach().clone()
        loss.backward()
        adam.step()
        with torch.no_grad():
            delta *= (longest / delta.norm()).clamp(max=1.0)
    return best if balanced else delta.detach(), step + 1


def combined(keys, solve):
    """Σ a_j k_j with a = (G + λI)⁻¹1, G_ij = k_iᵀC⁻¹k_j, λ = ridge · trace(G) / n."""
    gram = (keys @ torch.stack([solve(key) for key in keys]).T).double()
    eye = torch.eye(len(keys), dtype=gram.dtype)
    weights = torch.linalg.solve(gram + BALANCE_RIDGE * gram.trace() / len(keys) * eye, eye.sum(1))
    return weights.float() @ keys


def patch(edit, solve, variant):
    """u, Λ and the steps of the search."""
    rewrites = edit.keys[: edit.prompts.rewrites]
    mean = rewrites.mean(0)
    delta, steps = search(edit, variant == "balanced")
    w = edit.model.layers[edit.layer].down.weight
    if variant == "balanced":
        u = solve(combined(edit.keys, solve))
        return u, delta / (u @ mean), steps
    u = solve(mean)
    key = rewrites[0] if variant == "rome" else mean
    return u, (edit.value + delta - w @ key) / (u @ key), steps


def strings(answers):
    """A list of answers, however the file nests them."""
    return [answers] if isinstance(answers, str) else [s for a in answers for s in strings(a)]


def read(path, form):
    """The records of a dataset: prompt with `{}`, subject, target, what is true, rephrasings, neighbours."""
    for number, record in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        if form == "counterfact":
            asked = record["requested_rewrite"]
            yield {
                "record": number, "prompt": asked["prompt"], "subject": asked["subject"], "target": asked["target_new"]["str"],
                "truth": [asked["target_true"]["str"]], "rephrase": record["paraphrase_prompts"],
                "locality": record["neighborhood_prompts"],
            }
        elif record["subject"] in record["prompt"]:
            locality = [q["prompt"] for part in record["locality"].values() for q in part]
            yield {
                "record": number, "prompt": record["prompt"].replace(record["subject"], "{}", 1), "subject": record["subject"],
                "target": record["target_new"], "truth": strings(record["ground_truth"]), "rephrase": [record["rephrase_prompt"]],
                "locality": locality,
            }


class Judge:
    """Free greedy generation by the model as it stands."""

    KEPT_TOKENS = 8

    def __init__(self, model, tok):
        self.model, self.tok, self.end = model, tok, tok.token_to_id("<|endoftext|>")

    @torch.no_grad()
    def generate(self, prompts, most):
        rows = [self.tok.encode(prompt.rstrip()).ids for prompt in prompts]
        done, ended = [list(row) for row in rows], [False] * len(rows)
        for _ in range(most):
            width = max(map(len, done))
            ids = torch.tensor([row + [self.end] * (width - len(row)) for row in done])
            hidden, _ = self.model(ids, hidden=True)
            best = self.model.head(hidden[torch.arange(len(done)), torch.tensor([len(row) - 1 for row in done])]).argmax(-1)
            for i, token in enumerate(best.tolist()):
                ended[i] |= token == self.end
                if not ended[i]:
                    done[i].append(token)
            if all(ended):
                break
        return [now[len(row) :] for row, now in zip(rows, done)]

    def says(self, prompts, answers):
        """Whether each prompt gets one of the answers, exactly its tokens, and a word ends there."""
        wanted = [self.tok.encode(" " + answer.strip()).ids for answer in answers]
        said = self.generate(prompts, max(map(len, wanted)) + 1)
        return [any(s[: len(w)] == w and not self.tok.decode(s[len(w) :])[:1].isalnum() for w in wanted) for s in said]

    def score(self, record, down, u, lam):
        """Success, the rephrasings that carry over, and the neighbours that stay, of one patch."""
        before = self.generate(record["locality"], self.KEPT_TOKENS)
        clean = down.weight.clone()
        down.weight += lam[:, None] * u
        success, *rephrase = self.says([record["prompt"].replace("{}", record["subject"]), *record["rephrase"]], [record["target"]])
        after = self.generate(record["locality"], self.KEPT_TOKENS)
        down.weight.copy_(clean)
        return success, rephrase, [a == b for a, b in zip(before, after)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=["rome", "equation6", "balanced"], default="rome")
    parser.add_argument("--dataset", type=pathlib.Path, required=True)
    parser.add_argument("--format", choices=["counterfact", "zsre"], required=True)
    parser.add_argument("--records", help="records.jsonl of a run of `mobiedit eval`: its known records; or numbers, with commas [default: all]")
    parser.add_argument("--model", type=pathlib.Path, default=reference.HERE / "model.gguf")
    parser.add_argument("--layer", type=int, help="[default: a seventh of the way up, as `edit` does]")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the patches, as JSON lines")
    parser.add_argument("--judge", action="store_true", help="score the patches by greedy generation in PyTorch")
    return parser.parse_args()


def chosen(records, spec):
    """The records that `--records` names."""
    if spec is None:
        return records
    if pathlib.Path(spec).is_file():
        lines = map(json.loads, pathlib.Path(spec).read_text(encoding="utf-8").splitlines())
        numbers = {line["record"] for line in lines if line["known"] and line["refused"] is None}
    else:
        numbers = {int(number) for number in spec.split(",")}
    return [record for record in records if record["record"] in numbers]


def main():
    given = arguments()
    # Small matrices: one thread is the fastest, and leaves the rest of the machine alone.
    torch.set_num_threads(1)
    model, tok = reference.read_model(given.model)
    layer = model.c.layers // 7 if given.layer is None else given.layer
    solve, judge, down = Solver(reference.calibration(model, tok, layer)), Judge(model, tok), model.layers[layer].down
    scores = []
    with given.out.open("w", encoding="utf-8") as out:
        for record in chosen(list(read(given.dataset, given.format)), given.records):
            begun = time.perf_counter()
            essences, kl_factor = ESSENCE[given.variant]
            prompts = reference.Prompts.new(tok, record["prompt"], record["subject"], record["target"], essences=essences)
            edit = reference.Edit(model, layer, prompts, kl_factor)
            u, lam, steps = patch(edit, solve, given.variant)
            seconds = time.perf_counter() - begun
            line = {"record": record["record"], "layer": layer, "u": u.tolist(), "lambda": lam.tolist(), "steps": steps, "seconds": seconds}
            print(json.dumps(line), file=out, flush=True)
            if given.judge:
                scores.append((*judge.score(record, down, u, lam), steps, seconds))
                say(given, record, scores)
    if scores:
        summary(scores)


def say(given, record, scores):
    success, rephrase, kept, steps, seconds = scores[-1]
    told = f"success {success}, rephrase {sum(rephrase)}/{len(rephrase)}, kept {sum(kept)}/{len(kept)}, {steps} steps, {seconds:.1f} s"
    print(f"{record['record']} {record['subject']} -> {record['target']}: {told}", flush=True)


def summary(scores):
    """Shares over all edits, over all rephrasings and over all neighbours."""
    share = lambda marks: f"{100 * sum(marks) / max(len(marks), 1):.1f} %"
    flat = lambda part: [mark for score in scores for mark in score[part]]
    steps = sorted(score[3] for score in scores)[len(scores) // 2]
    told = f"success {share([s[0] for s in scores])}, rephrase {share(flat(1))}, locality {share(flat(2))}"
    print(f"{len(scores)} edits: {told}, {steps} steps (median), {sum(s[4] for s in scores) / len(scores):.2f} s an edit")


if __name__ == "__main__":
    main()
