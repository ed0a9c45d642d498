"""Makes a draft model of a model: the same file with some of its layers only."""

import re
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


def skip_string(data, at):
    return at + 8 + struct.unpack_from("<Q", data, at)[0]


def skip_value(data, at, kind):
    if kind == STRING:
        return skip_string(data, at)
    if kind != ARRAY:
        return at + SIZES[kind]
    of, n = struct.unpack_from("<IQ", data, at)
    at += 12
    if of != STRING:
        return at + n * SIZES[of]
    for _ in range(n):
        at = skip_string(data, at)
    return at


def read_metadata(data, n_keys):
    """{key: (first byte of the pair, of the value, behind it)} and where it ends."""
    at, keys = 24, {}
    for _ in range(n_keys):
        start, key_end = at, skip_string(data, at)
        (kind,) = struct.unpack_from("<I", data, key_end)
        at = skip_value(data, key_end + 4, kind)
        keys[data[start + 8:key_end].decode()] = (start, key_end + 4, at)
    return keys, at


def read_tensors(data, n, at):
    """[name, shape and type as they stand, offset] and where they end."""
    tensors = []
    for _ in range(n):
        end = skip_string(data, at)
        name = data[at + 8:end].decode()
        shape_end = end + 4 + 8 * struct.unpack_from("<I", data, end)[0] + 4
        tensors.append([name, data[end:shape_end], struct.unpack_from("<Q", data, shape_end)[0]])
        at = shape_end + 8
    return tensors, at


def cut_layers(source, target, layers):
    """layers: indices of those that stay, in order."""
    data = source.read_bytes()
    n_tensors, n_keys = struct.unpack_from("<QQ", data, 8)
    keys, at = read_metadata(data, n_keys)
    tensors, at = read_tensors(data, n_tensors, at)
    base = at + -at % 32
    ends = sorted(t[2] for t in tensors) + [len(data) - base]
    kept, body = [], bytearray()
    for name, shape, offset in tensors:
        m = re.match(r"blk\.(\d+)\.(.*)", name)
        if m and int(m[1]) not in layers:
            continue
        new = f"blk.{layers.index(int(m[1]))}.{m[2]}" if m else name
        kept.append(struct.pack("<Q", len(new)) + new.encode() + shape + struct.pack("<Q", len(body)))
        body += data[base + offset:base + next(e for e in ends if e > offset)]
        body += bytes(-len(body) % 32)
    meta = bytearray(data[24:max(end for _, _, end in keys.values())])
    (count,) = [k for k in keys if k.endswith(".block_count")]
    struct.pack_into("<I", meta, keys[count][1] - 24, len(layers))
    head = data[:8] + struct.pack("<QQ", len(kept), n_keys) + meta + b"".join(kept)
    target.write_bytes(head + bytes(-len(head) % 32) + body)
