"""llama.cpp and MobiEdit on the same file of random weights: how fast each reads a text of 512 tokens, on as many threads.

Shows: multiply-accumulates a second of both, in one run on one machine, and their ratio. MobiEdit's activations have 16 bits,
llama.cpp's 8.

Does not show: what either does with a GPU, another batch, another CPU.

The file is the one that `mobiedit bench scale` writes; it is written first if it is not there.
"""

import argparse
import json
import subprocess
import sys
import time

import llama_cpp

TOKENS = 512
RUNS = 3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mobiedit", default="target/release/mobiedit")
    parser.add_argument("--shape", default="qwen2.5-3b")
    parser.add_argument("--quant", default="q8_0")
    parser.add_argument("--dir", default="target/scale")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def ours(given):
    command = [given.mobiedit, "bench", "scale", "--shape", given.shape, "--quant", given.quant]
    command += ["--dir", given.dir, "--threads", str(given.threads), "--json"]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)


def theirs(path, threads):
    """Seconds of the fastest run, and bytes of the most memory that this process had."""
    model = llama_cpp.Llama(
        path, n_ctx=TOKENS, n_batch=TOKENS, n_ubatch=TOKENS, n_threads=threads, n_threads_batch=threads,
        n_gpu_layers=0, verbose=False,
    )
    tokens = [(token * 7919 + 13) % model.n_vocab() for token in range(TOKENS)]
    best = float("inf")
    for _ in range(RUNS):
        model.reset()
        start = time.perf_counter()
        model.eval(tokens)
        best = min(best, time.perf_counter() - start)
    return best


def main():
    given = arguments()
    measured = ours(given)
    seconds = theirs(f"{given.dir}/{given.shape}-{given.quant}-random.gguf", given.threads)
    # Both do the same products; ours are counted.
    products = measured["prompt"]["prompt_multiplied_per_second"] * measured["prompt"]["prompt_seconds"]
    print(f"{given.shape}, {given.quant}, random weights, {TOKENS} tokens, {given.threads} threads")
    for name, took in [("llama.cpp " + llama_cpp.__version__, seconds), ("MobiEdit", measured["prompt"]["prompt_seconds"])]:
        print(f"{name:<20} {took:6.2f} s  {TOKENS / took:6.1f} tokens/s  {products / took / 1e9:6.1f} GMAC/s")
    ratio = seconds / measured["prompt"]["prompt_seconds"]
    print(f"MobiEdit is {ratio:.2f} times as fast")
    return 0 if ratio >= 1.5 else 1


if __name__ == "__main__":
    sys.exit(main())
