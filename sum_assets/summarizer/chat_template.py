"""Renders a model's chat template as transformers does, with a fixed date."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, meta, nodes

# The public `apply_chat_template` cannot fix the date: it reads the clock, and turns functions that it is given into
# strings. This makes a template of our own, whose globals nobody else sees.
from transformers.utils.chat_template_utils import _cached_compile_jinja_template as compile_template

from sum_assets.errors import UserError, first_line
from sum_assets.summarizer.user_settings import DEFAULT_DATE

_MARK = "sumassetsmark"


class ChatTemplate:
    """The chat template of a tokenizer, with the user's options. `date` is ISO, the day that it may print.

    `variables` are the names that the template reads, `literals` the text that it holds. Raises UserError where the
    template is broken, or does not read an option.
    """

    def __init__(self, tokenizer: Any, options: Mapping[str, Any] | None = None, date: str = DEFAULT_DATE) -> None:
        options = options or {}
        try:
            source = tokenizer.get_chat_template()
            self._template = compile_template(source)
            tree = self._template.environment.parse(source)
        except (ValueError, TemplateError) as error:
            raise UserError(f"model: its chat template cannot be read: {first_line(error)}") from error
        self.variables = meta.find_undeclared_variables(tree)
        self.literals = "\0".join(
            [node.data for node in tree.find_all(nodes.TemplateData)]
            + [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
        )
        for name in sorted(options.keys() - self.variables):
            others = sorted(self.variables - {"messages", "tools", "documents", "add_generation_prompt"})
            raise UserError(
                f"chat_template_options: the model's chat template does not read {name}. It reads {', '.join(others)}."
                if others
                else f"chat_template_options: the model's chat template does not read {name}, nor any option."
            )
        day = datetime.fromisoformat(date)
        self._template.globals["strftime_now"] = day.strftime
        self._options: dict[str, Any] = {**tokenizer.special_tokens_map}
        if date != DEFAULT_DATE:
            self._options["date_string"] = day.strftime("%d %b %Y")
        self._options |= options

    def render(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        """Return the text of a conversation. Raises UserError where the template refuses it."""
        try:
            text: str = self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._options,
            )
            return text
        except Exception as error:  # a template is a program of somebody else's
            raise UserError(
                f"model: its chat template refuses a conversation of one user message: {first_line(error)}"
            ) from error

    def render_user(self, content: str) -> str:
        """Return the prompt of one user message, as `apply_chat_template` with `add_generation_prompt` does."""
        return self.render([{"role": "user", "content": content}])


def is_control_token(content: str) -> bool:
    """Return whether an added token looks like <|user|> and [INST], rather than like a word."""
    return len(content) > 2 and not content.isspace() and not content[0].isalnum() and not content[-1].isalnum()


def end_of_turn(tokenizer: Any) -> int | None:
    """Return the token that follows the assistant's text in the chat template, or None.

    Where nothing follows the last text, it is what begins the user's next turn: no summary goes on after it.
    """
    user = {"role": "user", "content": "Cells divide."}
    template = ChatTemplate(tokenizer)
    control = {i for i, token in tokenizer.added_tokens_decoder.items() if is_control_token(token.content)}
    control.update(tokenizer.all_special_ids)
    for following in ([], [user]):
        messages = [user, {"role": "assistant", "content": _MARK}, *following]
        try:
            text = template.render(messages, add_generation_prompt=False)
        except UserError:
            continue  # it knows no such conversation, and so says nothing about its end
        _, mark, rest = text.rpartition(_MARK)
        if not mark:
            continue
        for token in tokenizer(rest, add_special_tokens=False).input_ids:
            if token in control:
                return int(token)
            if tokenizer.decode([token]).strip():
                break
    return None
