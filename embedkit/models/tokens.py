"""What a decoder's tokenizer lacks for embedding texts: padding, and a token that stands at the end of every text."""

from typing import Any

from tokenizers import processors

from embedkit.core.errors import ModelError


def set_padding(tokenizer: Any) -> None:
    """Give a tokenizer a padding token, if it has none: its end token, which padding masks anyway."""
    if tokenizer.pad_token is not None:
        return
    if tokenizer.eos_token is None:
        raise ModelError("the model's tokenizer has neither a padding token nor an end token; set one in its files")
    tokenizer.pad_token = tokenizer.eos_token


def set_end(tokenizer: Any) -> None:
    """Let every text end with the end token, also where it is cut: last-token pooling then always reads that token."""
    if tokenizer.eos_token is None:
        raise ModelError("end_token: the model's tokenizer has no end token")
    if has_end(tokenizer):
        return
    if {"add_bos_token", "add_eos_token"} & tokenizer.init_kwargs.keys():
        tokenizer.add_eos_token = True  # by such settings, a post-processor is made anew whenever one is loaded
        tokenizer.init_kwargs["add_eos_token"] = True
    else:
        before, after = (tokenizer.convert_ids_to_tokens(ids) for ids in special_tokens(tokenizer))
        known = {token: tokenizer.convert_tokens_to_ids(token) for token in (*before, *after, tokenizer.eos_token)}
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *after, tokenizer.eos_token], special_tokens=list(known.items())
        )


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids of what a tokenizer puts before and after every text."""
    inside, around = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    start = next(i for i in range(len(around)) if around[i : i + len(inside)] == inside)
    return around[:start], around[start + len(inside) :]


def has_end(tokenizer: Any) -> bool:
    """Whether texts end with the end token."""
    return bool(tokenizer("a")["input_ids"][-1:] == [tokenizer.eos_token_id])


def runs_into(prompt: str, tokenizer: Any) -> bool:
    """Whether a prompt's last token becomes one with the beginning of the text, as a space at its end mostly does.

    sentence-transformers counts the tokens that a prompt has alone, so that where prompts are not pooled, neither is
    the first token of such a text.
    """
    alone, followed = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, f"{prompt}a"))
    return bool(followed[: len(alone)] != alone)
