"""Edge attribution scores and the faithfulness of circuits, by torch autograd in float64: `python eap.py`.

This is our own reading of what the public implementation computes (github.com/hannamw/EAP-IG, `attribute.py` and `evaluate.py`), written down anew; no code is
taken from it. Its semantics: writers are the token embedding, every head's output without bias, every MLP's output; readers are the input of every
head's q, k and v, of every MLP and of the final norm, each before the norm, heads that share keys and values each with their own. A score is the sum over positions of
(corrupt - clean) times the gradient of a loss (here contrast minus target, at the last position) to the reader's input. EAP takes the gradient at the clean run. EAP-IG takes
its mean over runs whose token embedding is `corrupt + (k / steps) (clean - corrupt)`, k = 0 .. steps - 1; positions are not interpolated. A circuit's run gives
every reader the sum of what its kept writers write in that run and what all others write in the corrupt run.

Where attention's output has a norm of its own, a reader sees that norm of the heads as it reads them; the public implementation does so when it runs circuits, and here
scores are the gradient of that too.

`tiny-gpt2` is read here; the other families by `canon.py`.
"""
import json
import os
import sys

import torch

import canon

F = torch.nn.functional
HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.dirname(HERE)


class Gpt2(canon.Model):
    """GPT-2 from a Hugging Face folder, its linear layers turned round."""

    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as file:
            self.config = c = json.load(file)
        w = {k.removeprefix("transformer."): v.double() for k, v in canon.load_file(os.path.join(folder, "model.safetensors")).items()}
        self.family, self.d, self.heads, self.layers = "gpt2", c["n_embd"], c["n_head"], c["n_layer"]
        self.kv, self.width, self.parallel, self.interleaved, self.embed_scale = self.heads, self.d // self.heads, False, False, 1.0
        norm = lambda name: canon.Norm(w[name + ".weight"], w[name + ".bias"], c["layer_norm_epsilon"], centre=True)
        linear = lambda name: (w[name + ".weight"].T, w[name + ".bias"])
        self.embed, self.positions, self.final = w["wte.weight"], w["wpe.weight"], norm("ln_f")
        self.unembed, self.unembed_bias, self.act = self.embed, None, canon.ACTIVATIONS[c["activation_function"]]
        self.blocks = []
        for l in range(self.layers):
            at = f"h.{l}."
            weight, bias = linear(at + "attn.c_attn")
            b = dict(ln1_post=None, ln2_post=None, gate=None, window=None, scale=self.width**-0.5, q_norm=None, k_norm=None, rope=None)
            b["q"], b["k"], b["v"] = zip(weight.chunk(3), bias.chunk(3))
            b["ln1"], b["ln2"] = norm(at + "ln_1"), norm(at + "ln_2")
            b["o"], b["input"], b["output"] = linear(at + "attn.c_proj"), linear(at + "mlp.c_fc"), linear(at + "mlp.c_proj")
            self.blocks.append(b)


class Split:
    """A run in which every reader reads a tensor of its own, `reads[name]`, so that it has a gradient or can be put together from edges."""

    def __init__(self, model, ids):
        self.m, self.ids, self.n = model, ids, len(ids)

    def head(self, l, h, xq, xk, xv):
        """What head `h` writes, given what its queries, keys and values read, `[T, d]` each. Norms over all heads are given all of them by `attention`."""
        return self.attention(l, {h: (xq, xk, xv)})[h]

    def attention(self, l, reads):
        m, b, n, w = self.m, self.m.blocks[l], self.n, self.m.width
        group = m.heads // m.kv
        norm = lambda x: x if b["ln1"] is None else b["ln1"](x)

        def project(part, h, x):
            weight, bias = b[part]
            at = h if part == "q" else h // group
            y = norm(x) @ weight[at * w : (at + 1) * w].T
            return y if bias is None else y + bias[at * w : (at + 1) * w]

        q = torch.stack([project("q", h, reads[h][0]) for h in range(m.heads)], 1)
        k = torch.stack([project("k", h, reads[h][1]) for h in range(m.heads)], 1)
        v = torch.stack([project("v", h, reads[h][2]) for h in range(m.heads)], 1)
        if b["q_norm"] is not None:
            q = b["q_norm"](q)
        if b["k_norm"] is not None:
            k = self.key_norm(b["k_norm"], k, group)
        if b["rope"]:
            theta, width, scaling = b["rope"]
            f, amplitude = canon.frequencies(theta, width, scaling, m.config, n)
            angle = torch.outer(torch.arange(n).float(), f).double()
            cos, sin = angle.cos() * amplitude, angle.sin() * amplitude
            q, k = canon.rotate(q, cos, sin, m.interleaved), canon.rotate(k, cos, sin, m.interleaved)
        scores = torch.einsum("qhd,khd->hqk", q, k) * b["scale"]
        back = torch.arange(n)[:, None] - torch.arange(n)[None]
        scores = scores.masked_fill(~((back >= 0) & (back < (b["window"] or n))), float("-inf"))
        z = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)
        return torch.einsum("qhd,chd->hqc", z, b["o"][0].view(m.d, m.heads, w))

    def key_norm(self, norm, k, group):
        """Norms of shared keys, of keys that every query head has a copy of: over all heads the mean square is that of all copies."""
        if group == 1 or not callable(norm) or isinstance(norm, canon.Norm):
            return norm(k)
        inner = norm.__closure__[0].cell_contents
        weight = inner.weight.view(-1, self.m.width).repeat_interleave(group, 0).flatten()
        whole = canon.Norm(weight, None, inner.eps, inner.centre)
        return whole(k.flatten(1)).view(k.shape)

    def mlp(self, l, x):
        b = self.m.blocks[l]
        bias = lambda part: 0 if b[part][1] is None else b[part][1]
        y = x if b["ln2"] is None else b["ln2"](x)
        up = y @ b["input"][0].T + bias("input")
        post = self.m.act(up) if not b["gate"] else self.m.act(y @ b["gate"][0].T + bias("gate")) * up
        out = post @ b["output"][0].T + bias("output")
        return out if b["ln2_post"] is None else b["ln2_post"](out)

    def run(self, embed, read):
        """`read(reader, written)` gives what a reader reads, `written` being `{writer: [T, d]}` of the writers before it. Returns logits and all that was written."""
        m, written = self.m, {"input": embed}
        for l in range(m.layers):
            reads = {h: tuple(read(f"a{l}.h{h}<{part}>", dict(written)) for part in "qkv") for h in range(m.heads)}
            before = dict(written)
            for h, out in enumerate(self.attention(l, reads)):
                written[f"a{l}.h{h}"] = out
            written[f"m{l}"] = self.mlp(l, read(f"m{l}", before if m.parallel else dict(written)))
        return m.logits(read("logits", dict(written))[-1:])[-1], written

    def stream(self, written):
        """The residual stream that these writers make: their sum, with positions, biases and norms behind attention."""
        m = self.m
        total = written["input"]
        if m.positions is not None:
            total = total + m.positions[: self.n]
        for l in range(m.layers):
            if f"a{l}.h0" in written:
                out = sum(written[f"a{l}.h{h}"] for h in range(m.heads))
                out = out if m.blocks[l]["o"][1] is None else out + m.blocks[l]["o"][1]
                total = total + (out if m.blocks[l]["ln1_post"] is None else m.blocks[l]["ln1_post"](out))
            if f"m{l}" in written:
                total = total + written[f"m{l}"]
        return total


def edges(m):
    """`(writer, reader)` in the order of the public implementation's node names."""
    found, before = [], ["input"]
    for l in range(m.layers):
        heads = [f"a{l}.h{h}" for h in range(m.heads)]
        found += [(w, f"{h}<{part}>") for w in before for h in heads for part in "qkv"]
        found += [(w, f"m{l}") for w in before + ([] if m.parallel else heads)]
        before = before + heads + [f"m{l}"]
    return found + [(w, "logits") for w in before]


def loss(logits, target, contrast):
    return logits[contrast] - logits[target]


def scores(m, clean, corrupt, target, contrast, steps):
    """Edge scores: EAP for no steps, else EAP-IG. The gradient along an edge is that of what its writer gives to its reader alone."""
    plain = lambda ids: Split(m, ids).run(m.embed[ids] * m.embed_scale, lambda _, w: Split(m, ids).stream(w))[1]
    with torch.no_grad():
        at_clean, at_corrupt = plain(clean), plain(corrupt)
    difference = {w: at_corrupt[w] - at_clean[w] for w in at_clean}
    points = [1.0] if steps is None else [k / steps for k in range(steps)]
    total = {}
    for share in points:
        split = Split(m, clean)
        embed = at_corrupt["input"] + share * (at_clean["input"] - at_corrupt["input"])
        offsets = {}

        def read(reader, written):
            # Every edge carries its writer plus nothing: the gradient of the nothing is that along the edge.
            given = {}
            for w, value in written.items():
                offsets[(w, reader)] = torch.zeros_like(value, requires_grad=True)
                given[w] = value + offsets[(w, reader)]
            return split.stream(given)

        logits, _ = split.run(embed, read)
        gradients = torch.autograd.grad(loss(logits, target, contrast), list(offsets.values()))
        for edge, g in zip(offsets, gradients):
            total[edge] = total.get(edge, 0.0) + (difference[edge[0]] * g).sum().item() / len(points)
    return total


def circuit_value(m, clean, corrupt, kept, target, contrast):
    """The loss with these edges alone."""
    with torch.no_grad():
        split = Split(m, clean)
        other = Split(m, corrupt).run(m.embed[corrupt] * m.embed_scale, lambda _, w: Split(m, corrupt).stream(w))[1]
        read = lambda reader, written: split.stream({w: v if (w, reader) in kept else other[w] for w, v in written.items()})
        return loss(split.run(m.embed[clean] * m.embed_scale, read)[0], target, contrast).item()


def main():
    models = {"tiny-gpt2": Gpt2, "gemma-1": canon.Model, "olmo2-1": canon.Model, "phi-1": canon.Model, "phi-2": canon.Model, "starcoder2-2": canon.Model}
    clean, corrupt, target, contrast = [5, 17, 42, 8, 30, 17, 2], [5, 23, 42, 8, 11, 17, 2], 7, 11
    result = {"clean": clean, "corrupt": corrupt, "target": target, "contrast": contrast, "models": {}}
    for name, kind in models.items():
        m = kind(os.path.join(DATA, "models", name))
        eap, ig = scores(m, clean, corrupt, target, contrast, None), scores(m, clean, corrupt, target, contrast, 5)
        order, whole = edges(m), set(edges(m))
        assert set(eap) == whole
        value = lambda kept: circuit_value(m, clean, corrupt, kept, target, contrast)
        ranked = sorted(order, key=lambda e: -abs(ig[e]))
        sizes = [0, len(order) // 8, len(order) // 3, len(order)]
        result["models"][name] = {
            "eap": {f"{w}->{r}": eap[w, r] for w, r in order},
            "eap_ig": {f"{w}->{r}": ig[w, r] for w, r in order},
            "clean_loss": value(whole),
            # The edges with the largest scores of EAP-IG, none taken out that lead nowhere: that changes no value.
            "top": [[n, value(set(ranked[:n]))] for n in sizes],
        }
        print(name, len(order), result["models"][name]["top"], file=sys.stderr)
    with open(os.path.join(DATA, "eap", "scores.json"), "w") as file:
        json.dump(result, file, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
