"""What a model knows, concludes, keeps in mind and obeys, found out without a judge.

`items` and `world` ask with given answers, of which the model should find the right one the likeliest
(`choice`); `ngrams` are the baselines; `instruct` has stories told and looks for what was asked of them.
"""
