"""Patched grids by TransformerLens's own `patching` on two reference models: `python patching.py` with transformer_lens 4.3 installed.

Writes `patching/NAME.json`: both prompts as token ids, what is measured, and one grid a site as TransformerLens gives it (clean values into the corrupt run), `[layer][position]` of
streams and outputs, `[layer][head]` of heads over all positions. The measure is the logit difference as a share of the gap between both runs.
"""
import json
import os

import torch
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.dirname(HERE)
TARGET, CONTRAST = 7, 11
POSITIONS = {"resid_pre": "resid_pre", "resid_mid": "resid_mid", "attn_out": "attn_out", "mlp_out": "mlp_out"}
HEADS = {"z": "attn_head_out", "q": "attn_head_q", "k": "attn_head_k", "v": "attn_head_v", "pattern": "attn_head_pattern"}


def grids(name):
    folder = os.path.join(DATA, "models", name)
    hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = TransformerBridge.boot_transformers(folder, hf_model=hf, device="cpu", dtype=torch.float32)
    cfg = model.cfg
    clean = torch.tensor([[(3 + 5 * i) % cfg.d_vocab for i in range(7)]])
    corrupt = clean.clone()
    corrupt[0, 2] += 1
    corrupt[0, 4] += 2
    with torch.no_grad():
        off = (hf(clean).logits - model(clean)).abs().max().item()
        assert off < 1e-5, f"{name}: not the same model, {off}"
        difference = lambda logits: logits[0, -1, TARGET] - logits[0, -1, CONTRAST]
        logits, cache = model.run_with_cache(clean)
        top, low = difference(logits), difference(model(corrupt))
        metric = lambda logits: (difference(logits) - low) / (top - low)
        found = {}
        for site, of in POSITIONS.items():
            if site == "resid_mid" and cfg.parallel_attn_mlp:
                continue
            found[site] = getattr(patching, f"get_act_patch_{of}")(model, corrupt, cache, metric).tolist()
        for site, of in HEADS.items():
            found[site] = getattr(patching, f"get_act_patch_{of}_all_pos")(model, corrupt, cache, metric).tolist()
    one = {"model": name, "clean": clean[0].tolist(), "corrupt": corrupt[0].tolist(), "target": TARGET, "contrast": CONTRAST, "metric_clean": top.item(), "metric_corrupt": low.item(), "effects": found}
    os.makedirs(os.path.join(DATA, "patching"), exist_ok=True)
    with open(os.path.join(DATA, "patching", f"{name}.json"), "w") as file:
        json.dump(one, file, separators=(",", ":"))
        file.write("\n")


grids("tiny-gpt2")
grids("tiny-gpt-neox")
