"""Trains three small tokenizers in the style of Llama 2, Llama 3 and Gemma and writes what transformers makes of hard prompts.

    python make.py tinyshakespeare.txt

Made with transformers 4.57.3 and tokenizers 0.22; Tiny Shakespeare is in the public domain.
"""
import json
import os
import sys

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PROMPTS = [
    "The king said",
    " The king",
    "the  king   said\n\n\tto",
    "naïve café 語り 🙂👩‍👩‍👧",
    "a\0b\x7f\x1b[31m",
    "e\u0301 \u202eright to left\u202c \ufeff\u200b",
    "1234567890 3.14e-5",
    "\U0010ffff\ue000",
    " ",
    "\n",
    "I'll they'RE WE'd",
    "<s> The king</s>",
    "▁under▁score",
    "  ",
]


def write(name, tokenizer, config):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump(config, file, indent=1)


def template(bos, bos_id):
    return processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, bos_id)])


def llama2(text):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # Lines are trained one word at a time: without a pre-tokenizer, merges would run over spaces.
    words = ["▁" + word for line in text.splitlines() for word in line.split(" ")]
    special = ["<unk>", "<s>", "</s>"] + BYTES
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    bare = Tokenizer(tokenizer.model)
    bare.train_from_iterator(words, trainer)
    state = json.loads(tokenizer.to_str())
    state["model"] = {**json.loads(bare.to_str())["model"], "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special[:3]])
    tokenizer.post_processor = template("<s>", 1)
    write("llama2-style", tokenizer, {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False,
        "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": True, "rstrip": False,
                      "single_word": False},
        "eos_token": "</s>", "unk_token": "<unk>", "legacy": False,
    })


def llama3(text):
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(), trainer)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    tokenizer.add_tokens([AddedToken("naïve", normalized=False)])
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=True), template("<|begin_of_text|>", bos)])
    write("llama3-style", tokenizer, {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>",
        # Without effect on this class, although the post-processor adds one.
        "add_bos_token": False,
    })


def gemma(text):
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=True)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=special + BYTES, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(), trainer)
    state = json.loads(tokenizer.to_str())
    state["model"]["byte_fallback"] = True
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in BYTES]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens([AddedToken("▁▁", normalized=False), AddedToken("\n\n", normalized=False)])
    tokenizer.post_processor = template("<bos>", 2)
    write("gemma-style", tokenizer, {
        "tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>",
        "pad_token": "<pad>",
    })


def main():
    with open(sys.argv[1]) as file:
        text = file.read()
    for make in (llama2, llama3, gemma):
        make(text)
    expected = {"transformers": transformers.__version__, "prompts": PROMPTS, "ids": {}}
    folders = {name: os.path.join(HERE, name) for name in ("llama2-style", "llama3-style", "gemma-style")}
    folders["tiny-gpt2"] = os.path.join(HERE, "..", "models", "tiny-gpt2")
    for name, folder in folders.items():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        expected["ids"][name] = {
            "auto": [tokenizer(prompt).input_ids for prompt in PROMPTS],
            "never": [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in PROMPTS],
        }
    with open(os.path.join(HERE, "expected.json"), "w") as file:
        json.dump(expected, file, ensure_ascii=True)
        file.write("\n")


main()
