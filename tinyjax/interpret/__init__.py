"""Looking inside: what heads and neurons do to the story.

from tinyjax.interpret import Add, Replace, Scale, look, names
seen = look(model, tokens_BT, capture="*/pattern")
changed = look(model, tokens_BT, edits={"block1/heads": Scale.without(heads=[3], of=model.config.num_heads)})
"""

from tinyjax.interpret.capture import Seen, look, names, stream
from tinyjax.interpret.edits import Add, Edit, Replace, Scale

__all__ = ["Add", "Edit", "Replace", "Scale", "Seen", "look", "names", "stream"]
