"""Where in the pictures an encoder finds what the locked model goes by.

In reading order: `extract.saliency.methods` (what a network can be asked for), `extract.saliency.cam` and
`extract.saliency.rollout` (maps on the network's own grid), `extract.saliency.placing` (from that grid to the pixels
of the slab), `extract.saliency.maps` (a patient's maps from the gradient at her embeddings),
`extract.saliency.occlusion` (the same without a gradient) and `extract.saliency.shuffling` (the network that has
learned nothing, which every map is held against).
"""
