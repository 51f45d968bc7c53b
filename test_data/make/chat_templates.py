#!/usr/bin/env python3
"""What transformers makes of chat templates: test_data/chat_templates.json.
usage: chat_templates.py > ../chat_templates.json        (needs transformers 4.57.3)
The templates are written for this test, in the ways that public ones are: Llama 2 and 3, ChatML, Gemma, Mistral, and the constructs they use."""
import json
import transformers
from transformers.utils.chat_template_utils import render_jinja_template

assert transformers.__version__ == "4.57.3", transformers.__version__
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
TEMPLATES = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "chatml-default-system": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama3-like": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "llama2-like": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "gemma-like": "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n    {%- set first_user_prefix = \"\" -%}\n    {%- set loop_messages = messages -%}\n{%- endif -%}\n{%- for message in loop_messages -%}\n    {%- if (message['role'] == 'assistant') -%}\n        {%- set role = \"model\" -%}\n    {%- else -%}\n        {%- set role = message['role'] -%}\n    {%- endif -%}\n    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n    {%- if message['content'] is string -%}\n        {{ message['content'] | trim }}\n    {%- elif message['content'] is iterable -%}\n        {{ 'no' }}\n    {%- endif -%}\n    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n",
    "trimmed-blocks": "{% for message in messages %}\n    {% if message.role == 'user' %}\nU: {{ message.content }}\n    {% else %}\nO: {{ message.content }}\n    {% endif %}\n{% endfor %}\nend\n",
    "tojson": "{{ messages | tojson }}|{{ messages[-1] | tojson(indent=4) }}|{{ {'a': 1, 'b': [1.5, none, true], 'c': \"<&>'é\"} | tojson }}",
    "namespace-and-macros": "{%- set ns = namespace(n=0, last='') -%}\n{%- macro show(m) -%}[{{ m.role|upper }}]{{ m.content }}{%- endmacro -%}\n{%- for m in messages if m.role != 'system' -%}{%- set ns.n = ns.n + 1 -%}{%- set ns.last = m.content -%}{{ show(m) }}{%- endfor -%}\n{{ ns.n }} {{ ns.last[:3] }} {{ ns.last.split(' ')[0] }} {{ 'x' if tools is none else 'y' }} {{ 'd' if documents is defined else 'u' }}",
    "generation-and-break": "{% for message in messages %}{% if message.role == 'assistant' %}{% generation %}{{ message.content }}{% endgeneration %}{% break %}{% else %}{{ message.content.startswith('H') }}{{ message.content.replace('e', 'E').lstrip() }}{% endif %}{% endfor %}{{ eos_token }}",
    "undefined-and-defaults": "{{ nothing | default('none') }}{% if nothing is defined %}yes{% else %}no{% endif %}{{ messages | length }}{{ messages | map(attribute='role') | join(',') }}{{ (messages | last).content }}{{ ['a', 'b'] | join('-') }}",
}
CHATS = {
    "user": [("user", "Hello there")],
    "system": [("system", "Be kind."), ("user", "  Hey \n")],
    "turns": [("user", "Hi"), ("assistant", "Ho <b>"), ("user", "Hm é 語")],
    "wrong-turns": [("user", "Hi"), ("user", "again")],
}
cases = []
for template, text in TEMPLATES.items():
    for chat, messages in CHATS.items():
        for open in (True, False):
            messages_ = [{"role": r, "content": c} for r, c in messages]
            try:
                rendered, _ = render_jinja_template([messages_], chat_template=text, add_generation_prompt=open, **SPECIAL)
                found = {"prompt": rendered[0]}
            except Exception as e:
                found = {"error": str(e)}
            cases.append({"template": template, "chat": chat, "messages": messages, "add_generation_prompt": open, **found})
print(json.dumps({"special": SPECIAL, "templates": TEMPLATES, "cases": cases}, indent=1, ensure_ascii=False))
