"""Stories graded by a stronger model, as the paper's GPT-Eval does (Eldan & Li 2023, section 3)."""
