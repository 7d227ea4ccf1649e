"""How turns become text: ChatML, as SmolLM2 and llama.cpp know it, and the one form of a grounded question.

Tuning data and the running assistant share these functions, so that a model meets in service
exactly the prompts that it learned on. Only the standard library is used.
"""

from __future__ import annotations

from collections.abc import Sequence

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)  # ids 0, 1, 2 in a vocabulary of our own

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

GROUNDED_POSTS = 4
"""Posts in a grounded prompt, in tuning and in service: what a row of 256 tokens holds beside the question."""

NOTHING_FOUND = "I found no post about that."
"""The whole reply when none of the posts at hand answers."""

Turn = tuple[str, str]
"""(role, text); roles are system, user, assistant."""


def neutral(text: str) -> str:
    """Text of a person with every special token's spelling broken, so that it can never act as one."""
    for token in SPECIAL_TOKENS:
        text = text.replace(token, token.replace("<|", "< |"))
    return text


def render(turns: Sequence[Turn], *, ask: bool = False) -> str:
    """The turns as ChatML; with `ask`, ends where the assistant's next turn begins."""
    text = "".join(f"{TURN_START}{role}\n{neutral(body)}{TURN_END}\n" for role, body in turns)
    return text + f"{TURN_START}assistant\n" if ask else text


def grounded_prompt(question: str, posts: Sequence[str]) -> str:
    """The user's turn when posts are at hand: numbered posts, one a line, then the question.

    The expected reply ends its sentences with the number of the post they rest on, such as " [2]".
    """
    lines = [f"[{number}] {' '.join(post.split())}" for number, post in enumerate(posts, start=1)]
    return "Posts:\n" + "\n".join(lines) + f"\nQuestion: {' '.join(question.split())}"
