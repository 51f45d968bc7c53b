"""mechscope beside transformers on the same cores, round by round, so that a busy machine is as busy for both.

    cargo build --release; cargo bench --bench compare --no-run        # prints the path of the bench
    python benches/compare/compare.py BENCH [--model FOLDER] [--program target/release/mechscope [--own MODEL]] [--rounds 9]

Without --model a random model of GPT-2 small's shape is made in a folder of its own; --own names the same model in another form (a GGUF file)
for the whole program. Needs torch and transformers (4.57).
Printed: the least and the median time of each side in milliseconds, their ratios, the share of the run's own matmul peak, and the most memory
of a process that opens the model and runs once, beside that of its weights in f32. Forward passes come with the logits of every position; ours
some positions at a time, as `mechscope trace` writes them.
"""
import argparse, os, statistics, subprocess, sys, tempfile, time

THREADS = len(os.sched_getaffinity(0))
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

FIRST = """
import torch; from transformers import AutoModelForCausalLM, AutoTokenizer
m = AutoModelForCausalLM.from_pretrained({0!r}, dtype=torch.float32); t = AutoTokenizer.from_pretrained({0!r})
with torch.no_grad(): print(t.decode(m(**t({1!r}, return_tensors="pt")).logits[0, -1].argmax()))
"""
PROMPT = "When Mary and John went to the store, John gave a drink to"


def ids(n):
    return torch.tensor([[5 + (i * 7919) % 40000 for i in range(n)]])


def flops(model, n):
    weights = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "wpe" not in name and "wte" not in name and "embed" not in name)
    head = model.get_output_embeddings().weight.numel()
    c = model.config
    width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    return n * 2 * (weights - (0 if model.config.tie_word_embeddings else head) + head) + 2 * n * n * c.num_hidden_layers * c.num_attention_heads * width


MEMORY = """
import resource, sys, torch; from transformers import AutoModelForCausalLM
torch.set_num_threads({2})
m = AutoModelForCausalLM.from_pretrained({0!r}, dtype=torch.float32).eval(); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with torch.no_grad(): m(torch.tensor([[5 + (i * 7919) % 40000 for i in range({1})]]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory(path, folder, model, n):
    """The most megabytes of a process of each side that opens the model and runs it once."""
    own = subprocess.run([path, folder], input=f"forward {n}\nmemory 0\n", capture_output=True, text=True, check=True).stdout.split()[-1]
    other = subprocess.run([sys.executable, "-c", MEMORY.format(folder, n, THREADS)], capture_output=True, text=True, check=True).stdout
    weights = sum(p.numel() for p in model.parameters()) * 4 / 2**20
    own, other = float(own) / 2**20, float(other)
    print(f"most memory, {n} tokens: mechscope {own:.0f} MB, weights and {100 * (own / weights - 1):.0f} %; transformers {other:.0f} MB, weights and {100 * (other / weights - 1):.0f} %; weights {weights:.0f} MB", flush=True)


class Bench:
    def __init__(self, path, folder):
        self.child = subprocess.Popen([path, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout.readline() == "ready\n"

    def ask(self, what):
        self.child.stdin.write(what + "\n")
        self.child.stdin.flush()
        return float(self.child.stdout.readline())


def timed(work):
    begun = time.perf_counter()
    with torch.no_grad():
        work()
    return (time.perf_counter() - begun) * 1e3


def show(name, own, other, extra=""):
    print(f"{name:28} mechscope {min(own):9.1f} / {statistics.median(own):9.1f}   transformers {min(other):9.1f} / {statistics.median(other):9.1f}"
          f"   ratio of least {min(own) / min(other):.2f}, of medians {statistics.median(own) / statistics.median(other):.2f}{extra}", flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("bench")
    args.add_argument("--model")
    args.add_argument("--program")
    args.add_argument("--own")
    args.add_argument("--rounds", type=int, default=9)
    args.add_argument("--tokens", type=int, nargs="*", default=[64, 200, 512, 1024])
    args.add_argument("--attention", default="eager", choices=["eager", "sdpa"])
    args = args.parse_args()
    torch.set_num_threads(THREADS)
    folder = args.model
    if folder is None:
        folder = tempfile.mkdtemp()
        torch.manual_seed(0)
        GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=args.attention).eval()
    bench = Bench(args.bench, folder)
    print(f"{folder}, {THREADS} cores, torch {torch.__version__}, attention {args.attention}; least / median of {args.rounds} rounds, ms")
    for n in args.tokens:
        own, other, peaks, x = [], [], [], ids(n)
        for _ in range(args.rounds):
            peaks.append(bench.ask("peak"))
            own.append(bench.ask(f"forward {n}"))
            other.append(timed(lambda: model(x)))
        rate = flops(model, n) / min(own) / 1e6
        show(f"forward, {n} tokens", own, other, f"   {rate:.0f} of {max(peaks):.0f} GFLOP/s: {100 * rate / max(peaks):.0f} %")
    for n in args.tokens[-1:]:
        memory(args.bench, folder, model, n)
    own, other, x = [], [], ids(13)
    for _ in range(max(3, args.rounds // 3)):
        own.append(bench.ask("generate 50"))
        other.append(timed(lambda: model.generate(x, attention_mask=torch.ones_like(x), do_sample=False, min_new_tokens=50, max_new_tokens=50, pad_token_id=0)))
    show("generate 50 tokens", own, other)
    if args.program and args.model:
        own, other = [], []
        for _ in range(max(3, args.rounds // 3)):
            own.append(timed(lambda: subprocess.run([args.program, "predict", "-m", args.own or folder, "-p", PROMPT], check=True, stdout=subprocess.DEVNULL)))
            other.append(timed(lambda: subprocess.run([sys.executable, "-c", FIRST.format(folder, PROMPT)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)))
        show("first answer, whole process", own, other)


if __name__ == "__main__":
    main()
