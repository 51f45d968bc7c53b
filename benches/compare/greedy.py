"""Greedy generation beside that of transformers, token by token.

    python benches/compare/greedy.py target/release/mechscope FOLDER [FOLDER ...]

Prints SAME or the first token that differs, for prompts that begin as text and as odd ids; exit code 1 when one differs.
"""
import json, subprocess, sys
import torch
from transformers import AutoModelForCausalLM

TOKENS = 40


def main(program, folders):
    different = 0
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        rows = model.get_input_embeddings().weight.shape[0]
        for start in ([1, 5, 9], [7, 3, 3, 250, 11, 90, 41], list(range(2, 30))):
            ids = [i % rows for i in start]
            x = torch.tensor([ids])
            with torch.no_grad():
                want = model.generate(x, attention_mask=torch.ones_like(x), do_sample=False, max_new_tokens=TOKENS, pad_token_id=0)[0, len(ids):].tolist()
            out = subprocess.run([program, "generate", "-m", folder, "--ids", ",".join(map(str, ids)), "-n", str(TOKENS), "--format", "json"], check=True, capture_output=True)
            got = [t["id"] for t in json.loads(out.stdout)["generated"]]
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), None)
            same = at is None and len(got) == len(want)
            different += not same
            print("SAME" if same else f"DIFFERENT at {at} ({len(got)} and {len(want)} tokens)", folder, ids[:8])
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
