#!/usr/bin/env python3
"""Loads this folder in Hugging Face transformers and compares every logit with mechscope's.

    python assets/builtin/check_transformers.py target/release/mechscope            # compares
    python assets/builtin/check_transformers.py target/release/mechscope --write    # and writes reference.json anew

Needs torch and transformers; float32 on the CPU. Ends with status 1 when a logit differs by 1e-4 or more.
"""

import json
import pathlib
import subprocess
import sys

import torch
import transformers

TOLERANCE = 1e-4
FOLDER = pathlib.Path(__file__).resolve().parent


def main(program, write):
    known = json.loads((FOLDER / "reference.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    worst, prompts = 0.0, []
    for case in known["prompts"]:
        prompt = case["prompt"]
        ids = tokenizer(prompt)["input_ids"]
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0, -1]
        asked = [program, "predict", "-m", str(FOLDER), "-p", prompt, "-k", str(len(theirs)), "--format", "json"]
        ours = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)["top"]
        assert len(ours) == len(theirs), f"{prompt!r}: {len(ours)} of {len(theirs)} logits"
        difference = max(abs(row["logit"] - theirs[row["id"]].item()) for row in ours)
        worst = max(worst, difference)
        print(f"{difference:.1e}  {prompt!r} -> {tokenizer.decode([int(theirs.argmax())])!r}")
        values, indices = theirs.topk(10)
        top = [{"id": i, "token": tokenizer.decode([i]), "logit": v} for v, i in zip(values.tolist(), indices.tolist())]
        prompts.append({"prompt": prompt, "ids": ids, "top": top})
    print(f"worst of {len(prompts)} prompts, all {len(theirs)} logits each: {worst:.1e} (accepted: below {TOLERANCE})")
    if write:
        made_with = f"transformers {transformers.__version__}, torch {torch.__version__}, float32 on CPU"
        text = json.dumps({"made_with": made_with, "prompts": prompts}, indent=1, ensure_ascii=False)
        (FOLDER / "reference.json").write_text(text + "\n")
    return int(worst >= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--write" in sys.argv[2:]))
