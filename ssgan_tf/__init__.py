"""SS-GAN on Keras 3: self-supervised GANs with an auxiliary rotation loss.

Chen, Zhai, Ritter, Lucic, Houlsby, CVPR 2019, https://arxiv.org/abs/1811.11212

    paper                                   here
    3   rotation loss, equations 1 and 2    rotation.py, ssgan.py
    3   two-headed discriminator, figure 1  networks/discriminator.py
    4   adversarial losses, penalties       losses.py, penalties.py
    4   networks, spectral norm             networks/, layers/
    4   sBN, conditional batch norm         layers/batch_norm.py
    4   alternating updates, Adam           gan.py, optimizers.py
    4   FID and its protocol                evaluation/, scoring.py, score_table.py
    4   linear probe of D, tables 3 and 4   evaluation/probe.py, probing.py

    what followed it
    SS-GAN-MS, SSGAN-LA                     ssgan.py
    S3GAN                                   s3gan.py
    differentiable augmentation             augmentation.py
"""

__version__ = "0.1.0"
