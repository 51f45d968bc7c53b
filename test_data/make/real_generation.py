"""What transformers writes on after some prompts, greedily, of the real models: test_data/real/generated.json.

    python real_generation.py NAME=FOLDER [NAME=FOLDER ...] > ../real/generated.json

FOLDER holds a model's dequantised weights in Hugging Face layout, NAME is that of the files in `test_data/real`, whose prompts are gone on with. Made with torch 2.15 and
transformers 4.57.3 in float32, eager.
"""
import json
import os
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

REAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "real")
TOKENS, LONGEST = 20, 64

found = {}
for name, folder in (pair.split("=") for pair in sys.argv[1:]):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tensors = load_file(os.path.join(REAL, f"{name}.safetensors"))
    prompts = sorted(k for k, v in tensors.items() if k.endswith(".ids") and len(v) <= LONGEST)
    found[name] = []
    for key in prompts:
        ids = tensors[key][None]
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False, output_scores=True, return_dict_in_generate=True)
        new = out.sequences[0, ids.shape[1]:].tolist()
        logprobs = [round(float(s[0].log_softmax(-1)[i]), 6) for s, i in zip(out.scores, new)]
        found[name].append({"prompt": key.removesuffix(".ids"), "generated": new, "logprobs": logprobs})
json.dump(found, sys.stdout, indent=1)
print()
