/*
 * chat_builtin: the templates for models whose file has none.
 */
#ifndef HEARTH_TEXT_CHAT_BUILTIN_H
#define HEARTH_TEXT_CHAT_BUILTIN_H

/* ChatML: for models whose end-of-turn token is <|im_end|>. */
#define CHAT_TEMPLATE_CHATML                                                                       \
    "{%- for message in messages -%}\n"                                                            \
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\n" \
    "{%- endfor -%}\n"                                                                             \
    "{%- if add_generation_prompt -%}\n"                                                           \
    "{{ '<|im_start|>assistant\\n' }}\n"                                                           \
    "{%- endif -%}\n"

/* Plain text: for base models, which know no turns. */
#define CHAT_TEMPLATE_PLAIN                                                                        \
    "{{- bos_token -}}\n"                                                                          \
    "{%- for message in messages -%}\n"                                                            \
    "{%- if message['role'] == 'system' -%}\n"                                                     \
    "{{ message['content'] + '\\n\\n' }}\n"                                                        \
    "{%- elif message['role'] == 'user' -%}\n"                                                     \
    "{{ 'User: ' + message['content'] + '\\n' }}\n"                                                \
    "{%- elif message['role'] == 'assistant' -%}\n"                                                \
    "{{ 'Assistant: ' + message['content'] + '\\n' }}\n"                                           \
    "{%- else -%}\n"                                                                               \
    "{{ raise_exception('this model has no chat template: only the roles system, user and "        \
    "assistant can be written') }}\n"                                                              \
    "{%- endif -%}\n"                                                                              \
    "{%- endfor -%}\n"                                                                             \
    "{%- if add_generation_prompt -%}\n"                                                           \
    "Assistant:\n"                                                                                 \
    "{%- endif -%}\n"

#endif
