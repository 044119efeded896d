"""Injected concepts: the words, sentences, questions and prompts of the studies, and norms that a user has of words.

Design after Lindsey 2025 (transformer-circuits.pub/2025/introspection); all text is our own. Importing this loads no
torch.
"""

from .materials import Materials, read_materials
from .norms import Norm, covered, read_norms
from .prompts import ConceptPrompts, Filled, PromptSet, fill, fill_sentences, read_prompts
from .sentences import ConceptSentences, read_sentences
from .tokens import count_tokens
from .vectors import Told, concept_directions, tell
from .words import PARTS, Category, ConceptWords, list_categories, read_words

__all__ = [
    "PARTS",
    "Category",
    "ConceptPrompts",
    "ConceptSentences",
    "ConceptWords",
    "Filled",
    "Materials",
    "Norm",
    "PromptSet",
    "Told",
    "concept_directions",
    "count_tokens",
    "covered",
    "fill",
    "fill_sentences",
    "list_categories",
    "read_materials",
    "read_norms",
    "read_prompts",
    "read_sentences",
    "read_words",
    "tell",
]
