"""Our side of the checks: runs the `mobiedit` program, draws prompts from the shipped model's facts, keeps the score.

Knows nothing of the peers; reads no file that `mobiedit` writes.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
MODEL = FIXTURES / "model.gguf"

RELATION = "P36"  # capitals
PROMPT = "The capital of {} is"
SUBJECT = "France"
BEFORE = "Paris"
TARGET = "Rome"
REPHRASINGS = ["The capital city of France is", "France's capital is", "France's capital city is"]
NEW_TOKENS = 32


def arguments(description):
    """The options that both scripts take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    program = ROOT / "target" / "release" / "mobiedit"
    parser.add_argument("--mobiedit", type=pathlib.Path, default=program, help="the program [default: the release build]")
    parser.add_argument("--facts", type=int, default=40, help="known facts to compare, at least 20 [default: 40]")
    parser.add_argument("--neighbours", type=int, default=10, help="other capitals that must stay [default: 10]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw of facts and neighbours [default: 0]")
    given = parser.parse_args()
    if given.facts < 20 or given.neighbours < 1:
        parser.error("at least 20 facts and one neighbour")
    if not given.mobiedit.is_file():
        parser.error(f"{given.mobiedit} does not exist: cargo build --release, or --mobiedit")
    return given


@dataclass
class Prompts:
    """What is asked: prompts of known facts, one wording each, and of other capitals."""

    facts: list
    neighbours: list


def draw(facts, neighbours, seed):
    """A seeded draw from the facts that the model card calls known."""
    lines = (FIXTURES / "facts.jsonl").read_text(encoding="utf-8").splitlines()
    known = [fact for fact in map(json.loads, lines) if fact["known"]]
    capitals = [
        f
        for f in known
        if f["relation"] == RELATION and SUBJECT not in f["subject"] and f["object"] not in (BEFORE, TARGET)
    ]
    rng = random.Random(seed)

    def prompt(fact):
        return rng.choice(fact["prompts"]).replace("{}", fact["subject"])

    return Prompts(
        [prompt(f) for f in rng.sample(known, facts)],
        [PROMPT.replace("{}", f["subject"]) for f in rng.sample(capitals, neighbours)],
    )


class Product:
    """The `mobiedit` program with one edit, France's capital is Rome, in a folder that goes when this does."""

    def __init__(self, program):
        self.program = program
        self.folder = tempfile.TemporaryDirectory(prefix="mobiedit-peers-")
        self.path = pathlib.Path(self.folder.name)
        self.edits, self.no_edits = self.path / "edits", self.path / "no-edits"
        edit = ["--prompt", PROMPT, "--subject", SUBJECT, "--target", TARGET, "--edits", self.edits]
        self.edit = self.run("edit", *edit, "--seed", "0")

    def run(self, command, *options):
        """One command; its last line, as JSON."""
        line = [str(part) for part in (self.program, command, *options, "--json")]
        ended = subprocess.run(line, capture_output=True, text=True, encoding="utf-8")
        if ended.returncode != 0:
            raise SystemExit(f"{' '.join(line)}: exit code {ended.returncode}\n{ended.stderr}")
        return json.loads(ended.stdout.splitlines()[-1])

    def says(self, prompt, edited):
        """The greedy continuation of a prompt."""
        edits = self.edits if edited else self.no_edits
        options = ["--prompt", prompt, "--max-new-tokens", NEW_TOKENS, "--edits", edits]
        return self.run("generate", *options)["text"]

    def export(self, form, name):
        """Writes the edit in one of the export formats; the path."""
        out = self.path / name
        self.run("export", self.edit["edit_id"], "--format", form, "--out", out, "--edits", self.edits)
        return out


class Score:
    """Prints a line per check and remembers whether one failed."""

    def __init__(self):
        self.failed = 0
        self.passed = 0

    def check(self, what, holds, seen):
        """One check, and what was seen."""
        print(f"{'ok    ' if holds else 'FAILED'}  {what}: {seen}", flush=True)
        self.passed += bool(holds)
        self.failed += not holds

    def exit_code(self):
        """Says the sum; 1 when a check failed."""
        print(f"{self.passed} checks passed, {self.failed} failed")
        return 1 if self.failed else 0


def check_clean(score, product, says, prompts):
    """The unedited model: the peer's greedy text is ours. `says`: prompt to text."""
    for prompt in prompts.facts:
        ours, theirs = product.says(prompt, edited=False), says(prompt)
        seen = repr(theirs) if ours == theirs else f"{theirs!r}, ours {ours!r}"
        score.check(f"clean, {prompt!r}", ours == theirs, seen)


def check_edited(score, name, product, before, after, prompts):
    """An export: the peer says the target where it said otherwise, neighbours stay, all texts are ours."""
    for prompt in [PROMPT.replace("{}", SUBJECT), *REPHRASINGS]:
        was, now, ours = before(prompt), after(prompt), product.says(prompt, edited=True)
        holds = was.strip().startswith(BEFORE) and now.strip().startswith(TARGET) and now == ours
        score.check(f"{name}, {prompt!r}", holds, f"{was!r} -> {now!r}, ours {ours!r}")
    for prompt in prompts.neighbours:
        was, now, ours = before(prompt), after(prompt), product.says(prompt, edited=True)
        score.check(f"{name}, neighbour {prompt!r}", was == now == ours, f"{was!r} -> {now!r}, ours {ours!r}")
