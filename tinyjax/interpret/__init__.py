"""Looking inside: what heads and neurons do to the story.

from tinyjax.interpret import Add, Replace, Scale, look, names
seen = look(model, tokens_BT, capture="*/pattern")
changed = look(model, tokens_BT, edits={"block1/heads": Scale.without(heads=[3], of=model.config.num_heads)})

Over many stories, by module: corpus.corpus(tokenizer, texts, length) makes rows of them; heads.study and
heads.removals, neurons.neurons and features.train take these, attribution.lens and .attribute some tokens.
"""

from tinyjax.interpret.capture import Seen, look, names, stream
from tinyjax.interpret.edits import Add, Edit, Replace, Scale

__all__ = ["Add", "Edit", "Replace", "Scale", "Seen", "look", "names", "stream"]
