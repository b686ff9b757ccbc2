"""CIFAKE: 60,000 CIFAR-10 photographs and 60,000 images made by Stable Diffusion 1.4, 32 x 32 pixels each.

`cifake_dataset_builder` is the tensorflow-datasets builder, `archive` reads and checks what the data set is
published as, `loading` hands the prepared data to the rest of the package.
"""
