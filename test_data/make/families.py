"""Makes a tiny random model of each family, two seeds each, and the dump of every site of one prompt.

    python families.py OUT [NAME ...]

writes OUT/models/NAME and OUT/dumps/NAME.{safetensors,json}, as they lie in `test_data`. Made with torch 2.15 and transformers 4.57.3. The numbers come
from `canon.py` in float64; what transformers computes must agree: logits, hidden states, attention patterns and what attention and MLP return.
"""
import json
import math
import os
import sys
import warnings

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import no_init_weights

from canon import Model

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

IDS = [5, 47, 12, 60, 3, 3, 33, 21, 58]
SIZES = dict(hidden_size=40, num_attention_heads=4, num_hidden_layers=2, intermediate_size=54, max_position_embeddings=32, vocab_size=61)
TOKENS = dict(bos_token_id=0, eos_token_id=0, pad_token_id=None)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=8)
LAYERS = ["sliding_attention", "full_attention"]
GPTJ = dict(n_embd=40, n_head=4, n_layer=2, n_positions=32, n_inner=54, vocab_size=61)
OPT = dict(hidden_size=40, num_attention_heads=4, num_hidden_layers=2, ffn_dim=54, max_position_embeddings=32, vocab_size=61, word_embed_proj_dim=40)
LONG = dict(type="longrope", short_factor=[1.0, 1.1, 1.3, 1.6, 2.0], long_factor=[1.2, 2.0, 3.0, 5.0, 9.0])

# name: model_type, settings of the first seed, what differs in the second.
SPECS = {
    "gemma": ("gemma", SIZES | dict(num_key_value_heads=1, head_dim=14), dict(num_key_value_heads=2)),
    "olmo2": ("olmo2", SIZES | dict(num_key_value_heads=2), dict(attention_bias=True, tie_word_embeddings=True)),
    "olmo3": ("olmo3", SIZES | dict(num_key_value_heads=2, sliding_window=4, layer_types=LAYERS, rope_scaling=YARN), dict(rope_scaling=None)),
    "phi": ("phi", SIZES | dict(partial_rotary_factor=0.4), dict(qk_layernorm=True, num_key_value_heads=2)),
    "gptj": ("gptj", GPTJ | dict(rotary_dim=6), dict(rotary_dim=10)),
    "opt": ("opt", OPT, dict(activation_function="gelu", enable_bias=False)),
    "stablelm": ("stablelm", SIZES | dict(num_key_value_heads=2, use_qkv_bias=True, partial_rotary_factor=0.4),
                 dict(use_parallel_residual=True, qk_layernorm=True, use_qkv_bias=False)),
    "granite": ("granite", SIZES | dict(num_key_value_heads=2, embedding_multiplier=3.0, attention_multiplier=0.4, residual_multiplier=0.3, logits_scaling=2.5),
                dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "smollm3": ("smollm3", SIZES | dict(num_key_value_heads=2, no_rope_layer_interval=2), dict(use_sliding_window=True, sliding_window=4)),
    "phi3": ("phi3", SIZES | dict(num_key_value_heads=2, original_max_position_embeddings=16, rope_scaling=LONG, sliding_window=None),
             dict(original_max_position_embeddings=8, sliding_window=4)),
    "qwen2-yarn": ("qwen2", SIZES | dict(num_key_value_heads=2, rope_scaling=YARN), dict(rope_scaling=YARN | dict(attention_factor=1.25))),
    "qwen3-yarn": ("qwen3", SIZES | dict(num_key_value_heads=2, head_dim=14, rope_scaling=YARN), dict(rope_scaling=YARN | dict(beta_fast=4.0, truncate=False))),
    "llama-yarn": ("llama", SIZES | dict(num_key_value_heads=2, rope_scaling=YARN | dict(mscale=0.7, mscale_all_dim=0.5)),
                   dict(rope_scaling=dict(rope_type="dynamic", factor=4.0), max_position_embeddings=16)),
    "olmo": ("olmo", SIZES | dict(num_key_value_heads=2), dict(tie_word_embeddings=True)),
    "starcoder2": ("starcoder2", SIZES | dict(num_key_value_heads=2), dict(sliding_window=4, use_bias=False)),
    "arcee": ("arcee", SIZES | dict(num_key_value_heads=2, head_dim=10), dict(mlp_bias=True, rope_scaling=YARN)),
    "seed_oss": ("seed_oss", SIZES | dict(num_key_value_heads=2, head_dim=14), dict(attention_out_bias=True, mlp_bias=True)),
    "nemotron": ("nemotron", SIZES | dict(num_key_value_heads=2, head_dim=10, partial_rotary_factor=0.4), dict(mlp_bias=True, attention_bias=True, partial_rotary_factor=1.0)),
    "cohere": ("cohere", SIZES | dict(num_key_value_heads=2), dict(use_qk_norm=True, logit_scale=0.4)),
    "cohere2": ("cohere2", SIZES | dict(num_key_value_heads=2, sliding_window=4, layer_types=LAYERS, logit_scale=0.4), dict(sliding_window=None, attention_bias=True)),
    "exaone4": ("exaone4", SIZES | dict(num_key_value_heads=2, sliding_window=4, layer_types=LAYERS), dict(sliding_window=None, layer_types=["full_attention"] * 2)),
    "helium": ("helium", SIZES | dict(num_key_value_heads=2, head_dim=10), dict(attention_bias=True, tie_word_embeddings=True)),
    "ernie4_5": ("ernie4_5", SIZES | dict(num_key_value_heads=2, head_dim=10), dict(use_bias=True, tie_word_embeddings=False)),
}


def lively(model, seed):
    """Weights that keep activations lively, norms around their neutral value, no bias that is zero."""
    g = torch.Generator().manual_seed(seed)
    gemma = model.config.model_type == "gemma"
    plus_one = model.config.model_type in ("gemma", "nemotron")
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            r = torch.randn(p.shape, generator=g)
            if name.endswith("bias"):
                p.copy_(0.2 * r)
            elif "norm" in name or ".ln_" in name:
                p.copy_((0.0 if plus_one else 1.0) + 0.2 * r)
            elif "embed_positions" in name:
                p.copy_(0.3 * r)
            elif "lm_head" in name:
                p.copy_(0.25 * r)
            elif "embed" in name or "wte" in name:
                p.copy_((0.15 if gemma else 0.6) * r)
            else:
                p.copy_((1.6 if "q_proj" in name or "k_proj" in name else 1.0) * r / math.sqrt(p.shape[1]))


def checked(folder, sites, layers):
    """The greatest difference to what transformers computes, of each kind."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    base = model.transformer if hasattr(model, "transformer") else getattr(model.model, "decoder", model.model)
    seen = {}
    for l, layer in enumerate(base.h if hasattr(base, "h") else base.layers):
        attention = layer.attn if hasattr(layer, "attn") else layer.self_attn
        take = lambda key: lambda _, __, out: seen.update({key: out[0] if isinstance(out, tuple) else out})
        attention.register_forward_hook(take(f"attn {l}"))
        (layer.mlp if hasattr(layer, "mlp") else layer.fc2).register_forward_hook(take(f"mlp {l}"))
    mask = None
    if model.config.model_type == "cohere2" and model.config.sliding_window is None:
        # Its attention knows what a window of None means; only the making of its masks does not.
        causal = torch.full((1, 1, len(IDS), len(IDS)), float("-inf"), dtype=torch.float64).triu(1)
        mask = {"full_attention": causal, "sliding_attention": causal}
    with torch.no_grad():
        out = model(torch.tensor([IDS]), attention_mask=mask, output_hidden_states=True, output_attentions=True, use_cache=False)
    far = lambda a, b: float((a.reshape(b.shape) - b).abs().max())
    added = getattr(model.config, "residual_multiplier", 1.0)
    site = lambda l, *names: next(sites[f"blocks.{l}.{n}"] for n in names if f"blocks.{l}.{n}" in sites)
    every = range(layers)
    return {
        "logits": far(out.logits[0], sites["logits"]),
        "hidden_states": max(far(out.hidden_states[l][0], site(l, "hook_resid_pre")) for l in every),
        "attentions": max(far(out.attentions[l][0], site(l, "attn.hook_pattern")) for l in every),
        "attn": max(far(seen[f"attn {l}"] * added, site(l, "attn.hook_out_pre_post_norm", "hook_attn_out")) for l in every),
        "mlp": max(far(seen[f"mlp {l}"] * added, site(l, "mlp.hook_out_pre_post_norm", "hook_mlp_out")) for l in every),
    }


def make(out, name, kind, settings, seed):
    folder = os.path.join(out, "models", name)
    os.makedirs(folder, exist_ok=True)
    os.makedirs(os.path.join(out, "dumps"), exist_ok=True)
    # Initial weights are drawn below; transformers' own initialisation fails for norms without bias (StableLM).
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings, **TOKENS), attn_implementation="eager")
    model.tie_weights()
    lively(model, seed)
    model.save_pretrained(folder, safe_serialization=True)
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)

    own = Model(folder)
    sites = own.run(torch.tensor(IDS))
    check = checked(folder, sites, own.layers)
    assert max(check.values()) < 2e-5, (name, check)
    targets = sites["logits"][-1].topk(5).indices
    direct = own.direct(sites, len(IDS) - 1, targets)
    short = float((direct["dla.total"] - sites["logits"][-1][targets] + (0 if own.unembed_bias is None else own.unembed_bias[targets])).abs().max())
    assert short < 1e-9, (name, short)
    sites |= direct | {"logit_lens": own.lens(sites), "tokens": torch.tensor(IDS), "probs_last": sites["logits"][-1].softmax(-1)}
    stored = {k: (v.float() if v.is_floating_point() else v).contiguous().clone() for k, v in sites.items()}
    save_file(stored, os.path.join(out, "dumps", f"{name}.safetensors"))
    about = dict(model=name, family=kind, seed=seed, ids=IDS, dla_position=len(IDS) - 1, dla_targets=targets.tolist(), check=check,
                 compute="float64 (canon.py), stored float32", versions=dict(torch=torch.__version__.split("+")[0], transformers=transformers.__version__))
    with open(os.path.join(out, "dumps", f"{name}.json"), "w") as file:
        json.dump(about, file, indent=1)
    print(f"{name:14s} {sum(p.numel() for p in model.parameters()):6d} parameters, farthest from transformers {max(check.values()):.1e}")


def main(out, *names):
    for i, (name, (kind, settings, second)) in enumerate(SPECS.items()):
        if names and name not in names:
            continue
        for n, settings in enumerate((settings, settings | second), 1):
            make(out, f"{name}-{n}", kind, settings, 2000 + 10 * i + n)


main(*sys.argv[1:])
