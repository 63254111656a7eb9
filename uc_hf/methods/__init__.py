"""Methods by name: Unlearnable Clusters in its folder, and a file for each baseline with the same interface.

`registry` finds them, `labelwise` is what the baselines share, `label_sources` says what they take for an image's
label, and `source_model` trains the model that some of them attack.
"""
