"""Spreads `mobiedit eval` over a Ray cluster, a task per shard, then merges: ray_shards.py PROGRAM SHARDS OUT ARGUMENTS…

Paths must name the same files on every machine of the cluster. A shard whose machine was lost goes on elsewhere.
"""

import subprocess
import sys

import ray

program, shards, out, *evaluation = sys.argv[1:]


@ray.remote(num_cpus=1, max_retries=3, retry_exceptions=True)
def evaluate(number):
    folder = f"{out}/shard-{number}"
    shard = ["--shard", f"{number}/{shards}", "--out", folder, "--threads", "1"]
    subprocess.run([program, "eval", *evaluation, *shard], check=True)
    return folder


folders = ray.get([evaluate.remote(number) for number in range(1, int(shards) + 1)])
subprocess.run([program, "eval", "merge", *folders, "--out", f"{out}/merged"], check=True)
