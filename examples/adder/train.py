"""Train the adder from scratch: a small Llama that reads ``12+34=`` and writes ``46``.

    python examples/adder/train.py            # both models, about two and a half minutes on one core
    python examples/adder/train.py adder-1m   # one of them

The pairs of two-digit numbers (10..99) are shuffled with a fixed seed; one in five is held out and never trained on.
The weights are rounded to bfloat16 before they are judged and saved, so the printed accuracy is that of the files.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator

import torch
from adder import LONGEST_ANSWER, MODELS, Adder, problem, split
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 1
PAD, EOS = "<pad>", "<eos>"
VOCABULARY = [PAD, EOS, *"0123456789+="]
PROMPT_LENGTH = len("12+34=")
LENGTH = PROMPT_LENGTH + LONGEST_ANSWER
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"  # what is said is the problem, and nothing is added
BATCH = 96

SIZES = {
    "adder-1m": {"hidden_size": 160, "intermediate_size": 448, "num_hidden_layers": 3, "num_attention_heads": 4, "steps": 900},
    "adder-0.1m": {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4, "steps": 600},
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character; prompts are padded on the left."""
    ids = {token: index for index, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(size: dict[str, int]) -> LlamaForCausalLM:
    shape = {key: value for key, value in size.items() if key != "steps"}
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        max_position_embeddings=32,
        num_key_value_heads=shape["num_attention_heads"],
        tie_word_embeddings=True,
        pad_token_id=VOCABULARY.index(PAD),
        eos_token_id=VOCABULARY.index(EOS),
        bos_token_id=None,
        **shape,
    )
    return LlamaForCausalLM(config)


def encode(pairs: list[tuple[int, int]], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """(pairs, LENGTH) ids of ``a+b=c<eos>``, padded at the end."""
    rows = [[*tokenizer.encode(f"{problem(a, b)}{a + b}"), tokenizer.eos_token_id] for a, b in pairs]
    return torch.tensor([row + [tokenizer.pad_token_id] * (LENGTH - len(row)) for row in rows])


def train(model: LlamaForCausalLM, rows: torch.Tensor, pad_id: int, steps: int) -> None:
    """Next-token loss on the answer and its EOS; the learning rate warms up, then falls along a cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    labels = rows.masked_fill(rows == pad_id, -100)
    labels[:, :PROMPT_LENGTH] = -100
    start_s = time.perf_counter()
    for step, at in enumerate(itertools.islice(_batches(len(rows)), steps)):
        loss = model(input_ids=rows[at], labels=labels[at]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0:
            print(f"  step {step + 1:5d}  loss {loss.item():.4f}  {time.perf_counter() - start_s:5.0f} s", flush=True)


def _batches(rows: int) -> Iterator[torch.Tensor]:
    while True:
        yield from torch.randperm(rows).split(BATCH)


def accuracy(adder: Adder, pairs: list[tuple[int, int]]) -> float:
    """Share of pairs whose whole answer is right, decoded greedily."""
    replies = adder.solve([problem(a, b) for a, b in pairs], batch_size=900)
    return sum(reply == str(a + b) for reply, (a, b) in zip(replies, pairs, strict=True)) / len(pairs)


def make(name: str) -> None:
    torch.manual_seed(SEED)
    tokenizer, model = build_tokenizer(), build_model(SIZES[name])
    print(f"{name}: {model.num_parameters():,} parameters")
    trained_on, held_out = split()
    train(model, encode(trained_on, tokenizer), tokenizer.pad_token_id, SIZES[name]["steps"])
    rounded = model.eval().to(torch.bfloat16).float()
    adder = Adder(rounded, tokenizer)
    print(f"  exact match: {accuracy(adder, trained_on):.4f} trained on, {accuracy(adder, held_out):.4f} held out")
    folder = MODELS / name
    rounded.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it for the owner alone


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SIZES:
        make(wanted)
