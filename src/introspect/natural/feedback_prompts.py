"""What is asked in neurofeedback: labelled sentences, then a new one, or a request to write one of a label."""

from __future__ import annotations

from collections.abc import Sequence

TELL = "Write one sentence about something that you did."
"""Before a sentence that is read alone, as a reply."""
HEAD = "Every sentence below has a label, 0 or 1.\n"
LEAD = "Label:"
LABELS = ("0", "1")


def shown(texts: Sequence[str], labels: Sequence[bool]) -> str:
    """Labelled sentences."""
    lines = [f"\nSentence: {text}\n{LEAD} {int(label)}\n" for text, label in zip(texts, labels, strict=True)]
    return HEAD + "".join(lines)


def report(examples: str, text: str) -> str:
    """Asks for the label of a sentence."""
    return f"{examples}\nSentence: {text}\nWhat is its label, 0 or 1?"


def control(examples: str, target: int) -> str:
    """Asks for a sentence of a label."""
    return f"{examples}\nNow write one sentence of your own that has label {target}. Write the sentence only."
