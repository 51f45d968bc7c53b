#!/usr/bin/env python3
"""The fields that transformers writes into config.json by default, for every family that is read: test_data/config_defaults.json.
usage: config_defaults.py > ../config_defaults.json        (needs transformers 4.57.3)"""
import json
import transformers

assert transformers.__version__ == "4.57.3", transformers.__version__
FAMILIES = ["gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gptj", "opt",
            "olmo2", "olmo3", "stablelm", "granite", "smollm3", "olmo", "starcoder2", "seed_oss", "arcee", "nemotron", "cohere", "cohere2", "exaone4",
            "helium", "ernie4_5"]
fields = {}
for family in FAMILIES:
    config = transformers.AutoConfig.for_model(family)
    fields[family] = json.loads(config.to_json_string(use_diff=False))
print(json.dumps(fields, indent=1, sort_keys=True))
