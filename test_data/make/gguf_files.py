"""Converts the models of `test_data/models` to GGUF files, by llama.cpp's own converter.

    python gguf_files.py LLAMA_CPP OUT [NAME ...]

LLAMA_CPP is a folder with llama.cpp's `convert_hf_to_gguf.py` and `gguf-py` (the files here: those in the source of llama-cpp-python 0.3.16, with
transformers 4.57.3). Some changes are made to the converter, no numbers among them: the tokenizers' hashes, which it cannot know, are given the name
`gpt-2`, and Gemma's vocabulary takes the byte-level road; a model without tokenizer gets the vocabulary `none`; Cohere's `rotary_pct` is 1 and ERNIE's
class has its name in transformers.
"""
import importlib.machinery
import os
import sys
import types

# Left out: what the converter does not know (gptj, opt, olmo3, helium, seed_oss, norms on queries and keys of phi), or what the format has no key for (yarn of llama,
# amplitudes of yarn).
NAMES = ["arcee-1", "cohere-1", "cohere-2", "cohere2-1", "ernie4_5-1", "exaone4-1", "nemotron-1", "olmo-1", "starcoder2-1", "gemma-1", "gemma-2", "granite-1", "granite-2", "olmo2-1", "phi-1", "phi3-1", "phi3-2", "qwen2-yarn-1", "qwen3-yarn-1",
         "smollm3-1", "stablelm-1", "stablelm-2",
         "tiny-gemma2", "tiny-gemma3", "tiny-gpt2", "tiny-gpt-neox", "tiny-gpt-neox-sequential", "tiny-llama", "tiny-llama3", "tiny-mistral",
         "tiny-qwen2", "tiny-qwen3"]
STAND_INS = ["", ".tokens", ".tokens.tokenizers", ".tokens.tokenizers.base", ".tokens.tokenizers.mistral", ".tokens.tokenizers.multimodal",
             ".tokens.tokenizers.tekken", ".tokens.tokenizers.sentencepiece"]


def stand_in(name):
    """A module of Mistral's own tokenizers, which the converter imports and does not use here."""
    module = types.ModuleType(name)
    module.__getattr__ = lambda _: object
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__path__ = []
    sys.modules[name] = module


def convert(llama_cpp, folder, out, sentence_pieces=False):
    """Runs the converter, read anew: it keeps what it was told. With `sentence_pieces` a `tokenizer.model` is read as it reads one."""
    path = os.path.join(llama_cpp, "convert_hf_to_gguf.py")
    source = open(path).read()
    source = source.replace("    def get_vocab_base_pre(self, tokenizer) -> str:", '    def get_vocab_base_pre(self, tokenizer) -> str:\n        return "gpt-2"\n'
                            "    def _by_hash(self, tokenizer) -> str:")
    if not sentence_pieces:
        source = source.replace("self._set_vocab_sentencepiece()", "self._set_vocab_gpt2()")
        source = source.replace("            vocab = self._create_vocab_sentencepiece()\n            tokens = vocab[0]\n", "            tokens = range(10**9)\n")
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        source = source.replace("        self.set_vocab()", "        self._set_vocab_none()")
    # Fields that the published models have, and transformers does not write.
    source = source.replace('self.hparams["rotary_pct"]', 'self.hparams.get("rotary_pct", 1.0)')
    source = source.replace('"Ernie4_5_ForCausalLM"', '"Ernie4_5_ForCausalLM", "Ernie4_5ForCausalLM"')
    sys.argv = [path, folder, "--outtype", "f32", "--outfile", out]
    exec(compile(source, path, "exec"), {"__name__": "__main__", "__file__": path})


def prepare(llama_cpp):
    """Makes the converter's imports work."""
    import transformers  # noqa: F401  before the stand-ins, so that it does not see them
    from transformers import AutoConfig, AutoTokenizer  # noqa: F401

    for name in STAND_INS:
        stand_in("mistral_common" + name)
    sys.path[:0] = [os.path.join(llama_cpp, "gguf-py"), llama_cpp]


def main(llama_cpp, out, *names):
    prepare(llama_cpp)
    models = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models")
    os.makedirs(out, exist_ok=True)
    for name in names or NAMES:
        file = os.path.join(out, f"{name}.gguf")
        try:
            convert(llama_cpp, os.path.join(models, name), file)
            print(f"{name:26s} {os.path.getsize(file)} bytes")
        except (Exception, SystemExit) as error:
            print(f"{name:26s} {type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
