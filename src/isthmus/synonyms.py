"""Names that other programs use for fields of models, options of commands and words, and the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Collection

SYNONYMS = {
    "random_state": "seed rng random_seed manual_seed",
    "learning_rate": "lr rate step_size eta l_rate max_lr",
    "optimizer": "optimiser optim opt solver",
    "weight_decay": "wd l2 decay",
    "epochs": "epoch n_epochs num_epochs max_epochs nb_epoch max_iter n_iter iterations",
    "batch_size": "batch bs minibatch minibatch_size n_batch",
    "latent_dim": "z_dim zdim latent latents latent_size latent_dims n_latent dim_z nz n_components code_size code "
    "bottleneck embedding_dim encoding_dim",
    "hidden": "layers hidden_layers hidden_dims hidden_dim hidden_size hidden_sizes hidden_units hidden_layer_sizes "
    "units widths encoder_layers decoder_layers n_hidden",
    "device=cuda": "gpu gpus cuda use_gpu use_cuda accelerator",
    "device=cpu": "cpu no_cuda no_gpu",
    "precision": "dtype fp64 double single half amp bfloat16 mixed_precision",
    "likelihood": "loss recon_loss reconstruction_loss criterion distribution",
    "beta": "kl_weight kld_weight kl_coef",
    "patience": "early_stopping early_stop stop_after",
    "validation_fraction": "val_fraction validation_split val_split val_size validation_size test_size valid_fraction",
    "threads": "n_jobs jobs num_threads n_threads workers num_workers",
    "activation": "act nonlinearity act_fn activation_fn",
    "clip": "grad_clip clip_grad clip_norm max_grad_norm gradient_clip gradient_clip_val",
    "warmup": "kl_annealing annealing anneal kl_warmup",
    "corruption": "noise denoising noise_factor",
    "scaling": "scale scaler normalize normalise standardize standardise normalization",
    "sparsity": "sparse l1",
    "binarize": "binarise binary",
    "compile": "jit torch_compile",
    "output": "out outfile output_dir outdir out_dir save save_to dest destination run_name name logdir log_dir",
    "force": "overwrite clobber",
    "condition": "label labels target y class_column label_column conditional",
    "draws": "samples num_draws n_draws k iw_samples",
    "max_draws": "max_samples maximum_draws draws_max",
    "tolerance": "tol atol",
    "n": "num n_samples num_samples size n_rows",
    "sample_weight": "weights sample_weights row_weights",
    "validation": "val validation_data valid x_val eval_set x_valid",
    "-n": "n num n_samples num_samples samples count size number",
    "part": "split subset",
    "per_feature": "per_column by_feature by_column features columns",
    "seeds": "repeats runs n_runs restarts n_init",
    "models": "model",
    "resume": "restart",
    "quiet": "silent",
    "set": "param params field",
    "verbose": "debug traceback",
    "config": "config_file conf yaml toml settings",
}
"""A field or option, or a value of it, and its names elsewhere, separated by spaces."""

WORDS = {
    "normal": "gaussian gauss standard standard_normal isotropic diagonal_gaussian",
    "laplace": "l1_loss mae laplacian",
    "mse": "l2 l2_loss squared_error mean_squared_error",
    "bce": "binary_crossentropy binary_cross_entropy cross_entropy crossentropy bce_with_logits",
    "negative_binomial": "nb zinb negbin",
    "student_t": "t student",
    "categorical": "multinomial softmax",
    "discretized_logistic": "logistic",
    "mixture": "gmm mog gaussian_mixture vampprior vamp",
    "adamw": "adam nadam radam",
    "sgd": "momentum nesterov",
    "conv": "cnn convnet convolution convolutional resnet",
    "mlp": "dense fc fcn linear fully_connected feedforward",
    "standard": "zscore z_score standardize standardise column columns",
    "cuda": "gpu nvidia",
    "float32": "single fp32 float f32",
    "float64": "double fp64 f64",
    "bf16": "bfloat16 half float16 fp16 amp mixed",
    "silu": "swish",
    "relu": "leaky_relu leakyrelu lrelu",
    "iwae": "importance_weighted",
    "top_k": "topk k_sparse",
}
"""A word that a field takes, and its names elsewhere, separated by spaces."""


def nearest_name(name: str, known: Collection[str]) -> str | None:
    """The known name that was probably meant, by another program's name for it or by its letters; None if none is.

    >>> nearest_name("--lr", ["--learning-rate", "--likelihood"]), nearest_name("lr", ["learning_rate", "levels"])
    ('--learning-rate', 'learning_rate')
    >>> nearest_name("--gpu", ["--device"]), nearest_name("gpu", ["device"]), nearest_name("vea", ["vae", "vrnn"])
    ('--device cuda', "device='cuda'", 'vae')
    >>> nearest_name("gausian", ["laplace", "normal"])
    'normal'
    """
    is_option = name.startswith("-")
    word = name.lstrip("-").lower().replace("-", "_")
    for meant, names in SYNONYMS.items():
        if word in names.split():
            field, _, value = meant.partition("=")
            written = f"--{field.replace('_', '-')}" if is_option and not field.startswith("-") else field
            if written in known:
                return written + ((f" {value}" if is_option else f"={value!r}") if value else "")
    elsewhere = {other: meant for meant, others in WORDS.items() if meant in known for other in others.split()}
    if word in elsewhere:
        return elsewhere[word]
    if nearest := difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5):
        return nearest[0]
    return next((elsewhere[other] for other in difflib.get_close_matches(word, elsewhere, n=1, cutoff=0.8)), None)
