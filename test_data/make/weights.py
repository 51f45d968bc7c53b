"""What heads and neurons are made for, from weights alone, by torch in float64: `python weights.py`.

For two heads and two neurons of small models: the copying score by the eigenvalues of the whole map from tokens to logits, the strongest pairs of the whole tables, composition
by whole matrices, singular values, and cosines of neurons. The models' files are read by `canon.py` and `eap.py`; norms are folded in by their weight and centring.
"""
import json
import os

import torch

import canon
import eap


def folded(rows, norm):
    """Rows that read through a norm."""
    if norm is None:
        return rows
    rows = rows * norm.weight
    return rows - rows.mean(-1, keepdim=True) if norm.centre else rows


def written(rows, norm):
    """Rows that are written through a norm."""
    return rows if norm is None else norm.centred(rows) * norm.weight


def head(m, l, h):
    b, w = m.blocks[l], m.width
    kv = h // (m.heads // m.kv)
    rows = lambda part, at: folded(b[part][0][at * w : (at + 1) * w], b["ln1"])
    q, k, v = rows("q", h), rows("k", kv), rows("v", kv)
    o = written(b["o"][0][:, h * w : (h + 1) * w].T, b["ln1_post"])
    return q, k, v, o


def composition(a, b):
    """Of two heads' maps, by whole matrices `[d, d]`: what `a` writes for what it reads, read by `b`."""
    ov = lambda maps: maps[3].T @ maps[2]
    qk = b[0].T @ b[1]
    return [((x @ ov(a)).norm() / (x.norm() * ov(a).norm())).item() for x in (qk.T, qk, ov(b))]


def main():
    models = {"tiny-gpt2": eap.Gpt2, "gemma-1": canon.Model, "starcoder2-1": canon.Model}
    result = {}
    for name, kind in models.items():
        m = kind(os.path.join(eap.DATA, "models", name))
        l, h, n = m.layers - 1, 1, 3
        own = head(m, l, h)
        q, k, v, o = own
        embed, to_logits = m.embed * m.embed_scale, lambda rows: written(rows, m.final) @ m.unembed.T
        table = embed @ v.T @ to_logits(o)
        values = torch.linalg.eigvals(table)
        looks = (embed @ q.T) @ (embed @ k.T).T * m.blocks[l]["scale"]

        def top(table, count=5):
            values, at = table.flatten().topk(count)
            return [[i // table.shape[1], i % table.shape[1], x] for x, i in zip(values.tolist(), at.tolist())]

        b = m.blocks[l]
        input, output = folded(b["input"][0], b["ln2"])[n], written(b["output"][0].T, b["ln2_post"])[n]
        cosine = lambda x, y: (x @ y / (x.norm() * y.norm())).item()
        found = {
            "head": f"L{l}.H{h}",
            "copying_score": (values.real.sum() / values.abs().sum()).item(),
            "ov": top(table),
            "qk": top(looks),
            "ov_values": torch.linalg.svdvals(o.T @ v)[:5].tolist(),
            "qk_values": torch.linalg.svdvals(q.T @ k)[:5].tolist(),
            "composition": {f"L{a}.H{i}": composition(head(m, a, i), own) for a in range(l) for i in range(m.heads)},
            "neuron": f"L{l}.N{n}",
            "cosine_input_output": cosine(input, output),
            "upstream": max((abs(cosine(input, row)), f"L{a}.N{i}") for a in range(l) for i, row in enumerate(written(m.blocks[a]["output"][0].T, m.blocks[a]["ln2_post"]))),
        }
        if b["gate"]:
            gate = folded(b["gate"][0], b["ln2"])[n]
            found |= {"cosine_gate_output": cosine(gate, output), "cosine_gate_input": cosine(gate, input)}
            del found["upstream"]
        result[name] = found
    with open(os.path.join(eap.DATA, "eap", "weights.json"), "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
