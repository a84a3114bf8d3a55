"""The numbers of the paper's tables and figures, and the names of its methods.

Chen et al., 2019, https://arxiv.org/abs/1811.11212. Numbers are text, as printed.
`recipes.py` has the runs of each table and figure.
"""

UNCOND, COND, ROTATION_ONLY = "Uncond-GAN", "Cond-GAN", "Rot-only"
SSGAN, SSGAN_SBN = "SS-GAN", "SS-GAN (sBN)"
PLAIN, WITH_ROTATION = "classifier", "classifier with rotation loss"

# FID, the best of three seeds.
TABLE1 = {
    "cifar10": {UNCOND: "19.73", COND: "15.60", SSGAN: "17.11", SSGAN_SBN: "15.65"},
    "imagenet128": {UNCOND: "56.67", COND: "42.07", SSGAN: "47.56", SSGAN_SBN: "43.87"},
    "lsun_bedroom": {UNCOND: "16.02", SSGAN: "13.66", SSGAN_SBN: "13.30"},
    "celeb_a_hq": {UNCOND: "23.77", SSGAN: "26.11", SSGAN_SBN: "24.36"},
}
# FID, mean and standard deviation of three seeds: Uncond-GAN and SS-GAN in each row.
TABLE2 = {
    "cifar10": {
        "gp_1_0_0.9_1": ("121.05 +- 31.44", "25.8 +- 0.71"),
        "gp_1_0_0.9_2": ("28.11 +- 0.66", "26.98 +- 0.54"),
        "gp_1_0.5_0.999_1": ("78.54 +- 6.23", "25.89 +- 0.33"),
        "gp_10_0_0.9_1": ("188.52 +- 64.54", "28.48 +- 0.68"),
        "gp_10_0_0.9_2": ("29.11 +- 0.85", "27.74 +- 0.73"),
        "gp_10_0.5_0.999_1": ("117.67 +- 17.46", "25.22 +- 0.38"),
        "sn_0_0.9_1": ("87.86 +- 3.44", "19.65 +- 0.9"),
        "sn_0_0.9_2": ("20.24 +- 0.62", "17.88 +- 0.64"),
        "sn_0.5_0.999_1": ("86.87 +- 8.03", "18.23 +- 0.56"),
    },
    "imagenet128": {
        "gp_1_0_0.9_1": ("183.36 +- 77.21", "80.67 +- 0.43"),
        "gp_1_0_0.9_2": ("85.13 +- 2.88", "83.08 +- 0.38"),
        "gp_1_0.5_0.999_1": ("104.73 +- 2.71", "91.63 +- 2.78"),
        "gp_10_0_0.9_1": ("227.04 +- 31.45", "85.38 +- 2.7"),
        "gp_10_0_0.9_2": ("227.74 +- 16.82", "80.82 +- 0.64"),
        "gp_10_0.5_0.999_1": ("242.71 +- 13.62", "144.35 +- 91.4"),
        "sn_0_0.9_1": ("129.96 +- 6.6", "86.09 +- 7.66"),
        "sn_0_0.9_2": ("80.05 +- 1.33", "70.64 +- 0.31"),
        "sn_0.5_0.999_1": ("201.94 +- 27.28", "99.97 +- 2.75"),
    },
}
# Top-1 accuracy on each block of D, mean of three runs. SS-GAN without sBN is run too,
# but not in the tables. CIFAR-10 ...
TABLE3 = {
    UNCOND: ("0.719", "0.762", "0.778", "0.776"),
    COND: ("0.719", "0.759", "0.776", "0.780"),
    ROTATION_ONLY: ("0.710", "0.749", "0.762", "0.752"),
    SSGAN: (),
    SSGAN_SBN: ("0.721", "0.774", "0.796", "0.799"),
}
# ... and ImageNet.
TABLE4 = {
    UNCOND: ("0.074", "0.063", "0.073", "0.083", "0.077", "0.074"),
    COND: ("0.156", "0.187", "0.217", "0.272", "0.253", "0.337"),
    ROTATION_ONLY: ("0.147", "0.134", "0.158", "0.202", "0.196", "0.195"),
    SSGAN: (),
    SSGAN_SBN: ("0.158", "0.222", "0.250", "0.327", "0.358", "0.383"),
}
# Read off a plot: highest and last accuracy of the last block.
FIGURE2 = {
    UNCOND: ("0.23", "0.07"),
    ROTATION_ONLY: ("0.29", "0.20"),
    SSGAN: ("0.38", "0.38"),
}
# Read off a plot: floors after the switches at 2,000 and 12,000 steps, and peaks.
FIGURE3 = {
    PLAIN: {"floor_task_2": "0.49"},
    WITH_ROTATION: {
        "floor_task_2": "0.63",
        "floor_task_2_again": "0.69",
        "peaks": "0.85 to 0.88",
    },
}
# Read off a plot: mean FID by step.
FIGURE4 = {
    UNCOND: {20_000: "28", 50_000: "22.4", 100_000: "20.9"},
    COND: {20_000: "23.8", 50_000: "17.3", 100_000: "16.4"},
    SSGAN: {20_000: "26", 50_000: "19.0", 100_000: "17.8"},
    SSGAN_SBN: {20_000: "21.2", 50_000: "18.0", 100_000: "16.5"},
}
