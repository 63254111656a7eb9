"""The paper's baselines and others that came after, with the face of UCProtector: a file for each method.

`registry` finds them by name, `baseline` is what they share, `labels` says what they take for an image's label, and
`source` trains the model that some of them attack.
"""
