"""Writes the golden files beside it, from the Python package gguf 0.19.0 (llama.cpp's gguf-py, MIT licence) and numpy:

    pip install gguf==0.19.0 && python make.py

dequant.txt  a line per case: format, bytes of a block in hex, the f32 it stands for in hex (little-endian)
quant.txt    a line per block of Q8_0: the 32 f32 in hex, the block that gguf-py makes of them in hex
tiny.gguf    a model of two layers with every kind of metadata and five tensor types, written by gguf-py
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

HERE = Path(__file__).parent
SEED = 20250613

# f16: one, largest, smallest subnormal, smallest normal, negative, zero, infinity.
SCALES = [0x3C00, 0x7BFF, 0x0001, 0x0400, 0xA5A5, 0x0000, 0x7C00]
# Format: name, type, places of its f16 scales.
QUANTISED = [("Q8_0", T.Q8_0, [0]), ("Q4_0", T.Q4_0, [0]), ("Q4_K", T.Q4_K, [0, 2]), ("Q5_K", T.Q5_K, [0, 2]), ("Q6_K", T.Q6_K, [208])]
PLAIN = [("F32", T.F32, 4), ("F16", T.F16, 2), ("BF16", T.BF16, 2)]


def golden_case(name, kind, block):
    with np.errstate(all="ignore"):
        numbers = gguf.quants.dequantize(block, kind)
    return f"{name} {block.tobytes().hex()} {numbers.astype('<f4').tobytes().hex()}\n"


def dequant(rng):
    lines = []
    for name, kind, size in PLAIN:
        for fill in (0x00, 0x80, 0xFF):
            lines.append(golden_case(name, kind, np.full(16 * size, fill, np.uint8)))
        lines.append(golden_case(name, kind, rng.integers(0, 256, 64 * size, dtype=np.uint8)))
    for name, kind, places in QUANTISED:
        _, size = gguf.constants.GGML_QUANT_SIZES[kind]
        for scale in SCALES:
            block = rng.integers(0, 256, size, dtype=np.uint8)
            for place in places:
                block[place : place + 2] = np.array([scale], "<u2").view(np.uint8)
            lines.append(golden_case(name, kind, block))
    (HERE / "dequant.txt").write_text("".join(lines))


def quant(rng):
    ties = np.arange(32, dtype=np.float32) - 15.5
    ties[0] = 127
    blocks = [np.zeros(32), ties, rng.normal(size=32), rng.normal(size=32) * 1e-6, rng.normal(size=32) * 1e5, rng.standard_cauchy(32)]
    lines = []
    for block in blocks:
        block = block.astype("<f4")
        lines.append(f"{block.tobytes().hex()} {gguf.quants.quantize(block, T.Q8_0).tobytes().hex()}\n")
    (HERE / "quant.txt").write_text("".join(lines))


def tiny(rng):
    d, ff, vocab, heads, kv_heads = 32, 32, 12, 2, 1
    writer = gguf.GGUFWriter(HERE / "tiny.gguf", "qwen2")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(d)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_token_list([f"tökén{i}" for i in range(vocab)])
    writer.add_token_types([3] + [1] * (vocab - 1))
    writer.add_token_scores([-0.5 * i for i in range(vocab)])
    writer.add_add_bos_token(False)
    writer.add_key_value("test.unsigned", [7, 8, 2**32 - 1], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT32)
    for kind, value in [("uint8", 200), ("int8", -100), ("uint16", 60000), ("int16", -30000), ("int32", -2000000000)]:
        getattr(writer, f"add_{kind}")(f"test.{kind}", value)
    for kind, value in [("uint64", 2**63 + 1), ("int64", -(2**62)), ("float64", 0.1), ("bool", True)]:
        getattr(writer, f"add_{kind}")(f"test.{kind}", value)

    def add(name, kind, *shape):
        numbers = rng.normal(size=shape).astype(np.float32)
        if name == "output_norm.weight":
            numbers = np.arange(d, dtype=np.float32)
        if kind == T.F32:
            writer.add_tensor(name, numbers)
        else:
            writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)

    add("token_embd.weight", T.F16, vocab, d)
    add("output_norm.weight", T.F32, d)
    kv = d // heads * kv_heads
    for n, kind in [(0, T.Q8_0), (1, T.Q4_0)]:
        for part in ("attn_norm", "ffn_norm"):
            add(f"blk.{n}.{part}.weight", T.F32, d)
        for part, rows in (("attn_q", d), ("attn_k", kv), ("attn_v", kv)):
            add(f"blk.{n}.{part}.weight", kind, rows, d)
            add(f"blk.{n}.{part}.bias", T.F32, rows)
        add(f"blk.{n}.attn_output.weight", kind, d, d)
        add(f"blk.{n}.ffn_gate.weight", kind, ff, d)
        add(f"blk.{n}.ffn_up.weight", kind, ff, d)
        add(f"blk.{n}.ffn_down.weight", T.BF16, d, ff)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    rng = np.random.default_rng(SEED)
    dequant(rng)
    quant(rng)
    tiny(rng)
