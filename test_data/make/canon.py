"""A plain forward pass in float64 that shows every intermediate result, for the families that `families.py` makes models of.

It reads `config.json` and `model.safetensors` itself and shares no code with transformers or with mechscope. Tensors have no batch dimension: `[T, ...]`.
"""
import json
import math
import os

import torch
from safetensors.torch import load_file

F = torch.nn.functional
ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}


class Norm:
    """`(x - mean?) / scale * weight + bias?` over the last dimension."""

    def __init__(self, weight, bias=None, eps=1e-5, centre=False):
        self.weight, self.bias, self.eps, self.centre = weight, bias, eps, centre

    def centred(self, x):
        return x - x.mean(-1, keepdim=True) if self.centre else x

    def scale(self, x):
        return (self.centred(x).pow(2).mean(-1, keepdim=True) + self.eps).sqrt()

    def linear(self, x, scale):
        """What a part of `x` becomes, given the scale of the whole."""
        return self.centred(x) / scale * self.weight

    def __call__(self, x):
        y = self.linear(x, self.scale(x))
        return y if self.bias is None else y + self.bias


def frequencies(theta, width, scaling, config, n_tokens):
    """Radians per position for every pair, in float32 as transformers has them, and what multiplies cosine and sine."""
    f = 1.0 / theta ** (torch.arange(0, width, 2).float() / width)
    kind = (scaling or {}).get("rope_type", (scaling or {}).get("type"))
    if kind in (None, "default"):
        return f, 1.0
    longest, factor = config["max_position_embeddings"], scaling.get("factor")
    if kind == "dynamic":
        n = max(n_tokens, longest)
        theta = theta * (factor * n / longest - (factor - 1)) ** (width / (width - 2))
        return 1.0 / theta ** (torch.arange(0, width, 2).float() / width), 1.0
    if kind == "longrope":
        old = config["original_max_position_embeddings"]
        by = torch.tensor(scaling["long_factor" if n_tokens > old else "short_factor"])
        return f / by, math.sqrt(1 + math.log(longest / old) / math.log(old))
    assert kind == "yarn", kind
    old = scaling.get("original_max_position_embeddings") or longest
    pair = lambda turns: width * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(theta))
    low, high = pair(scaling.get("beta_fast") or 32), pair(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = ((torch.arange(width // 2).float() - low) / ((high - low) or 0.001)).clamp(0, 1)
    size = lambda by: 0.1 * by * math.log(factor) + 1
    some, every = scaling.get("mscale"), scaling.get("mscale_all_dim")
    natural = size(some) / size(every) if some and every else size(1)
    return f / factor * ramp + f * (1 - ramp), scaling.get("attention_factor") or natural


def rotate(x, cos, sin, interleaved):
    """`x` `[T, heads, d_head]` with its first features turned: `i` with `i + n`, or neighbours."""
    n = cos.shape[-1]
    turned, rest = x[..., : 2 * n], x[..., 2 * n :]
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else (turned[..., :n], turned[..., n:])
    a, b = a * cos[:, None] - b * sin[:, None], b * cos[:, None] + a * sin[:, None]
    turned = torch.stack([a, b], -1).flatten(-2) if interleaved else torch.cat([a, b], -1)
    return torch.cat([turned, rest], -1)


class Model:
    """A decoder read from a Hugging Face folder."""

    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as file:
            self.config = c = json.load(file)
        self.w = {k: v.double() for k, v in load_file(os.path.join(folder, "model.safetensors")).items()}
        self.family = f = c["model_type"]
        self.d = c.get("hidden_size") or c["n_embd"]
        self.heads = c.get("num_attention_heads") or c["n_head"]
        self.kv = c.get("num_key_value_heads") or self.heads
        self.layers = c.get("num_hidden_layers") or c["n_layer"]
        self.width = c.get("head_dim") or self.d // self.heads
        self.parallel = f in ("phi", "gptj", "cohere", "cohere2") or c.get("use_parallel_residual", False)
        self.interleaved = f in ("gptj", "cohere", "cohere2", "helium", "ernie4_5")
        self.embed_scale = {"gemma": math.sqrt(self.d), "granite": c.get("embedding_multiplier", 1.0)}.get(f, 1.0)
        self.added, self.logit_scale = c.get("residual_multiplier", 1.0), c.get("logit_scale", 1.0) / c.get("logits_scaling", 1.0)
        self.positions = None
        if f == "gptj":
            base, embed, self.head = "transformer.", "wte", "lm_head"
            self.act, self.final = ACTIVATIONS[c["activation_function"]], self.layer_norm("transformer.ln_f")
        elif f == "opt":
            base, embed, self.head = "model.decoder.", "embed_tokens", "lm_head"
            self.act, self.final = ACTIVATIONS[c["activation_function"]], self.layer_norm("model.decoder.final_layer_norm")
            self.positions = self.w["model.decoder.embed_positions.weight"][2:]
        else:
            base, embed, self.head = "model.", "embed_tokens", "lm_head"
            self.act = ACTIVATIONS[c["hidden_act"]]
            self.final = self.norm("model.final_layernorm" if f == "phi" else "model.norm")
        self.base = base
        self.embed = self.w[f"{base}{embed}.weight"]
        self.unembed = self.w.get("lm_head.weight", self.embed) * self.logit_scale
        self.unembed_bias = self.w.get("lm_head.bias")
        self.blocks = [self.block(l) for l in range(self.layers)]

    def layer_norm(self, name):
        eps = self.config.get("layer_norm_eps") or self.config.get("layer_norm_epsilon") or 1e-5
        return Norm(self.w[name + ".weight"], self.w[name + ".bias"], eps, centre=True)

    def norm(self, name):
        if self.family in ("phi", "stablelm"):
            return self.layer_norm(name)
        if self.family == "starcoder2":
            return Norm(self.w[name + ".weight"], self.w[name + ".bias"], self.config["norm_epsilon"], centre=True)
        if self.family == "nemotron":
            return Norm(self.w[name + ".weight"] + 1, self.w[name + ".bias"], self.config["norm_eps"], centre=True)
        if self.family in ("cohere", "cohere2"):
            return Norm(self.w[name + ".weight"], None, self.config["layer_norm_eps"], centre=True)
        if self.family == "olmo":
            return Norm(torch.ones(self.d).double(), None, 1e-5, centre=True)
        weight = self.w[name + ".weight"]
        return Norm(weight + 1 if self.family == "gemma" else weight, None, self.config["rms_norm_eps"])

    def linear(self, name, factor=1.0):
        bias = self.w.get(name + ".bias")
        return self.w[name + ".weight"] * factor, None if bias is None else bias * factor

    def head_norms(self, at, part):
        """Norms of queries or keys as a function of `[T, heads, d_head]`, or None."""
        f, heads = self.family, self.heads if part == "q" else self.kv
        if f in ("olmo2", "olmo3"):
            norm = self.norm(f"{at}{part}_norm")
            return lambda x: norm(x.flatten(1)).view(x.shape)
        if f == "cohere":
            return self.norm(f"{at}{part}_norm") if self.config["use_qk_norm"] else None
        if f in ("qwen3", "exaone4"):
            return self.norm(f"{at}{part}_norm")
        if not self.config.get("qk_layernorm"):
            return None
        if f == "phi":
            return self.layer_norm(f"{at}{part}_layernorm")
        weights = torch.stack([self.w[f"{at}{part}_layernorm.norms.{h}.weight"] for h in range(heads)])
        return Norm(weights, None, self.config["layer_norm_eps"], centre=True)

    def block(self, l):
        c, f = self.config, self.family
        at = f"{self.base}h.{l}." if f == "gptj" else f"{self.base}layers.{l}."
        attn = at + ("attn." if f == "gptj" else "self_attn.")
        b = dict(ln1=None, ln2=None, ln1_post=None, ln2_post=None, gate=None, window=None, scale=self.width**-0.5)
        if f == "phi3":
            rows = [self.heads * self.width, self.kv * self.width, self.kv * self.width]
            b["q"], b["k"], b["v"] = ((part, None) for part in self.w[attn + "qkv_proj.weight"].split(rows))
            b["gate"], b["input"] = ((part, None) for part in self.w[at + "mlp.gate_up_proj.weight"].chunk(2))
        else:
            b["q"], b["k"], b["v"] = (self.linear(f"{attn}{part}_proj") for part in "qkv")
        out = {"phi": "dense", "gptj": "out_proj", "opt": "out_proj"}.get(f, "o_proj")
        b["o"] = self.linear(attn + out, self.added)
        names = {"phi": ("mlp.fc1", "mlp.fc2"), "gptj": ("mlp.fc_in", "mlp.fc_out"), "opt": ("fc1", "fc2"),
                 "starcoder2": ("mlp.c_fc", "mlp.c_proj"), "arcee": ("mlp.up_proj", "mlp.down_proj"), "nemotron": ("mlp.up_proj", "mlp.down_proj")}.get(f)
        if names:
            b["input"], b["output"] = self.linear(at + names[0]), self.linear(at + names[1])
        else:
            b["output"] = self.linear(at + "mlp.down_proj", self.added)
            if f != "phi3":
                b["gate"], b["input"] = self.linear(at + "mlp.gate_proj"), self.linear(at + "mlp.up_proj")
        if f in ("olmo2", "olmo3", "exaone4"):
            b["ln1_post"] = self.norm(at + "post_attention_layernorm")
            b["ln2_post"] = self.norm(at + "post_feedforward_layernorm")
        elif f == "opt":
            b["ln1"], b["ln2"] = self.layer_norm(at + "self_attn_layer_norm"), self.layer_norm(at + "final_layer_norm")
        elif f == "gptj":
            b["ln1"] = b["ln2"] = self.layer_norm(at + "ln_1")
        elif self.parallel:
            b["ln1"] = b["ln2"] = self.norm(at + "input_layernorm")
        else:
            b["ln1"], b["ln2"] = self.norm(at + "input_layernorm"), self.norm(at + "post_attention_layernorm")
        b["q_norm"], b["k_norm"] = self.head_norms(attn, "q"), self.head_norms(attn, "k")
        sliding = f in ("phi3", "starcoder2") or (c.get("layer_types") or [""] * self.layers)[l] == "sliding_attention"
        used = c.get("use_sliding_window", f in ("olmo3", "phi3", "starcoder2", "cohere2", "exaone4"))
        b["window"] = c.get("sliding_window") if sliding and used else None
        if f == "granite":
            b["scale"] = c["attention_multiplier"]
        b["rope"] = self.rope(l)
        return b

    def rope(self, l):
        """Base, turned features and scaling of a layer's rotary embedding, or None."""
        c, f = self.config, self.family
        windowed = c.get("sliding_window") and (c.get("layer_types") or [""] * self.layers)[l] == "sliding_attention"
        # Without a window EXAONE 4 turns all layers, Cohere 2 none.
        if (f == "cohere2" and not windowed) or (f == "exaone4" and c.get("sliding_window") and not windowed):
            return None
        if f == "opt" or (f == "smollm3" and not c["no_rope_layers"][l]):
            return None
        if f == "gptj":
            return 10000.0, c["rotary_dim"], None
        share = c.get("partial_rotary_factor", 1.0) if f in ("phi", "phi3", "stablelm", "nemotron") else 1.0
        scaling = c.get("rope_scaling")
        if f == "olmo3" and c["layer_types"][l] == "sliding_attention":
            scaling = None
        return c["rope_theta"], int(self.width * share), scaling

    def attention(self, l, x, out):
        """What every head writes, `[T, heads, d]`, without bias."""
        b, n = self.blocks[l], x.shape[0]
        at = f"blocks.{l}.attn."
        project = lambda part: x @ b[part][0].T + (0 if b[part][1] is None else b[part][1])
        q, k = project("q").view(n, self.heads, self.width), project("k").view(n, self.kv, self.width)
        v = project("v").view(n, self.kv, self.width)
        out |= {at + "hook_q": q, at + "hook_k": k, at + "hook_v": v}
        q, k = (q if b["q_norm"] is None else b["q_norm"](q)), (k if b["k_norm"] is None else b["k_norm"](k))
        if b["rope"]:
            theta, width, scaling = b["rope"]
            f, amplitude = frequencies(theta, width, scaling, self.config, n)
            angle = torch.outer(torch.arange(n).float(), f).double()
            cos, sin = angle.cos() * amplitude, angle.sin() * amplitude
            q, k = rotate(q, cos, sin, self.interleaved), rotate(k, cos, sin, self.interleaved)
        group = self.heads // self.kv
        scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(group, 1)) * b["scale"]
        back = torch.arange(n)[:, None] - torch.arange(n)[None]
        seen = (back >= 0) & (back < (b["window"] or n))
        scores = scores.masked_fill(~seen, float("-inf"))
        pattern = scores.softmax(-1)
        z = torch.einsum("hqk,khd->qhd", pattern, v.repeat_interleave(group, 1))
        result = torch.einsum("qhd,chd->qhc", z, b["o"][0].view(self.d, self.heads, self.width))
        out |= {at + "hook_attn_scores": scores, at + "hook_pattern": pattern}
        # Where nothing is rotated these are q and k themselves, or no site at all.
        if b["rope"] or b["q_norm"] is None:
            out |= {at + "hook_rot_q": q, at + "hook_rot_k": k}
        out |= {at + "hook_z": z, at + "hook_result": result}
        return result

    @torch.no_grad()
    def run(self, ids):
        """Every site, by name."""
        out = {"hook_embed": self.embed[ids] * self.embed_scale}
        x = out["hook_embed"]
        if self.positions is not None:
            out["hook_pos_embed"] = self.positions[: len(ids)]
            x = x + out["hook_pos_embed"]

        def read(at, name, norm, x):
            if norm is None:
                return x
            out[f"{at}{name}.hook_scale"], out[f"{at}{name}.hook_normalized"] = norm.scale(x), norm(x)
            return norm(x)

        def written(at, name, part, norm, x):
            if norm is None:
                return x
            out[f"{at}{part}.hook_out_pre_post_norm"], out[f"{at}{name}.hook_scale"] = x, norm.scale(x)
            return norm(x)

        for l, b in enumerate(self.blocks):
            at = f"blocks.{l}."
            out[at + "hook_resid_pre"] = x
            bias = lambda part: 0 if b[part][1] is None else b[part][1]
            attn = self.attention(l, read(at, "ln1", b["ln1"], x), out).sum(1) + bias("o")
            attn = out[at + "hook_attn_out"] = written(at, "ln1_post", "attn", b["ln1_post"], attn)
            mid = x if self.parallel else x + attn
            if not self.parallel:
                out[at + "hook_resid_mid"] = mid
            y = read(at, "ln2", b["ln2"], mid)
            up = y @ b["input"][0].T + bias("input")
            if b["gate"]:
                out[at + "mlp.hook_pre_linear"] = up
                out[at + "mlp.hook_pre"] = y @ b["gate"][0].T + bias("gate")
                post = self.act(out[at + "mlp.hook_pre"]) * up
            else:
                out[at + "mlp.hook_pre"], post = up, self.act(up)
            out[at + "mlp.hook_post"] = post
            mlp = post @ b["output"][0].T + bias("output")
            mlp = out[at + "hook_mlp_out"] = written(at, "ln2_post", "mlp", b["ln2_post"], mlp)
            x = mid + mlp + (attn if self.parallel else 0)
            out[at + "hook_resid_post"] = x
        read("", "ln_final", self.final, x)
        out["logits_pre_softcap"] = out["logits"] = self.logits(x)
        return out

    def logits(self, x):
        """Final norm and unembedding of a residual stream."""
        y = self.final(x) @ self.unembed.T
        return y if self.unembed_bias is None else y + self.unembed_bias

    @torch.no_grad()
    def lens(self, out):
        """`[layer + 1, T, vocab]`: every residual stream read as if it were the last."""
        streams = [out["blocks.0.hook_resid_pre"]] + [out[f"blocks.{l}.hook_resid_post"] for l in range(self.layers)]
        return torch.stack([self.logits(x) for x in streams])

    @torch.no_grad()
    def direct(self, out, position, targets):
        """What every part writes onto the logits of `targets` at a position, the scale of the final norm held."""
        rows, scale = self.unembed[targets], out["ln_final.hook_scale"][position]
        onto = lambda x: self.final.linear(x, scale) @ rows.T
        parts = {key: [] for key in ("heads", "attn", "mlp", "neurons", "attn_bias", "mlp_bias")}
        for l, b in enumerate(self.blocks):
            at = f"blocks.{l}."
            through = lambda norm, name, x: x if norm is None else norm.linear(x, out[f"{at}{name}.hook_scale"][position])
            attn, mlp = (lambda x: through(b["ln1_post"], "ln1_post", x)), (lambda x: through(b["ln2_post"], "ln2_post", x))
            bias = lambda part: torch.zeros(self.d).double() if b[part][1] is None else b[part][1]
            parts["heads"].append(onto(attn(out[at + "attn.hook_result"][position])))
            parts["attn"].append(onto(out[at + "hook_attn_out"][position]))
            parts["mlp"].append(onto(out[at + "hook_mlp_out"][position]))
            parts["neurons"].append(onto(mlp(out[at + "mlp.hook_post"][position][:, None] * b["output"][0].T)))
            parts["attn_bias"].append(onto(attn(bias("o"))))
            parts["mlp_bias"].append(onto(mlp(bias("output"))))
        found = {f"dla.{key}": torch.stack(value) for key, value in parts.items()}
        found["dla.embed"] = onto(out["hook_embed"][position])
        if self.positions is not None:
            found["dla.pos_embed"] = onto(out["hook_pos_embed"][position])
        bias = self.final.bias
        found["dla.norm_bias"] = torch.zeros(len(targets)).double() if bias is None else bias @ rows.T
        total = found["dla.embed"] + found["dla.norm_bias"] + found["dla.heads"].sum((0, 1))
        total = total + found["dla.neurons"].sum((0, 1)) + found["dla.attn_bias"].sum(0) + found["dla.mlp_bias"].sum(0)
        found["dla.total"] = total + found.get("dla.pos_embed", 0)
        return found
