"""Tokenizers of GGUF files and what transformers makes of the same vocabulary: test_data/gguf/tokenizers/.

    python gguf_tokenizers.py LLAMA_CPP TEXT OUT

trains two SentencePiece models (BPE with byte fallback) on TEXT, in the manner of Llama 2 (a space before every prompt) and of Gemma (none), and takes the byte-level
tokenizer of `test_data/models/tiny-llama`. LLAMA_CPP's converter writes each into OUT/NAME.gguf, with a model of one narrow layer; OUT/expected.json has the ids that
transformers gives to hard prompts from the files the converter read. Made with sentencepiece 0.2.1, transformers 4.57.3, the source of llama-cpp-python 0.3.16, Tiny Shakespeare.
"""
import json
import os
import shutil
import sys
import tempfile

import sentencepiece
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GemmaTokenizerFast, LlamaTokenizerFast

import gguf_files

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPTS = [
    "The king said", " The king", "the  king   said\n\n\tto", "naïve café 語り 🙂👩‍👩‍👧", "a\0b\x7f", "e\u0301 \u202eright\u202c \ufeff\u200b", "1234567890 3.14e-5", " ", "\n",
    "I'll they'RE WE'd", "<s> The king</s>", "▁under▁score", "  ", "x", "<bos>The king<eos>", "\t\t  two", "ﬁ ½ Å", "aaaaaaaaaaaaaaaa",
]


def train(text, folder, prefix, names):
    """A SentencePiece model; `names` are the special tokens (unk, bos, eos, pad) in the order of their ids."""
    ids = {f"{key}_id": list(names).index(key) if key in names else -1 for key in ("unk", "bos", "eos", "pad")}
    sentencepiece.SentencePieceTrainer.train(
        input=text, model_prefix=os.path.join(folder, "tokenizer"), model_type="bpe", vocab_size=700, byte_fallback=True, split_digits=True,
        add_dummy_prefix=prefix, remove_extra_whitespaces=False, normalization_rule_name="identity", allow_whitespace_only_pieces=True, character_coverage=1.0,
        num_threads=1, minloglevel=2, **ids, **{f"{key}_piece": name for key, name in names.items()})


def model(folder, kind, n_vocab):
    torch.manual_seed(0)
    sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, head_dim=8, max_position_embeddings=64)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=n_vocab, **sizes)).save_pretrained(folder)


def main(llama_cpp, text, out):
    gguf_files.prepare(llama_cpp)
    os.makedirs(out, exist_ok=True)
    expected = {}
    for name in ("llama", "gemma", "gpt2"):
        with tempfile.TemporaryDirectory() as folder:
            if name == "gpt2":
                for file in ("tokenizer.json", "tokenizer_config.json"):
                    shutil.copy(os.path.join(HERE, "..", "models", "tiny-llama", file), folder)
                tokenizer = AutoTokenizer.from_pretrained(folder)
            elif name == "llama":
                train(text, folder, True, dict(unk="<unk>", bos="<s>", eos="</s>"))
                tokenizer = LlamaTokenizerFast(os.path.join(folder, "tokenizer.model"), legacy=True)
            else:
                train(text, folder, False, dict(pad="<pad>", eos="<eos>", bos="<bos>", unk="<unk>"))
                tokenizer = GemmaTokenizerFast(os.path.join(folder, "tokenizer.model"))
            if name != "gpt2":
                tokenizer.save_pretrained(folder)
            # What the converter says of the vocabulary depends on the architecture.
            model(folder, "gemma" if name == "gemma" else "llama", len(tokenizer))
            gguf_files.convert(llama_cpp, folder, os.path.join(out, f"{name}.gguf"), sentence_pieces=name != "gpt2")
            expected[name] = [{"prompt": p, "ids": tokenizer(p)["input_ids"]} for p in PROMPTS]
    with open(os.path.join(out, "expected.json"), "w") as file:
        json.dump(expected, file, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
