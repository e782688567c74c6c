"""The public names for type checkers; at run time they are imported when they are first used."""

from __future__ import annotations

from isthmus import callbacks as callbacks
from isthmus import plot as plot
from isthmus.batch import Batch as Batch
from isthmus.comparison.compare import compare as compare
from isthmus.data import read as read
from isthmus.data_checks import check as check
from isthmus.diagnosis.diagnose import diagnose as diagnose
from isthmus.diagnosis.wrap import wrap as wrap
from isthmus.errors import InputError as InputError
from isthmus.errors import TrainingError as TrainingError
from isthmus.estimators.autoencoders import AdversarialAutoencoder as AdversarialAutoencoder
from isthmus.estimators.autoencoders import Autoencoder as Autoencoder
from isthmus.estimators.autoencoders import ContractiveAutoencoder as ContractiveAutoencoder
from isthmus.estimators.autoencoders import DenoisingAutoencoder as DenoisingAutoencoder
from isthmus.estimators.autoencoders import SparseAutoencoder as SparseAutoencoder
from isthmus.estimators.autoencoders import WassersteinAutoencoder as WassersteinAutoencoder
from isthmus.estimators.discrete import VQVAE as VQVAE
from isthmus.estimators.ladder import LadderVAE as LadderVAE
from isthmus.estimators.ppca import ProbabilisticPCA as ProbabilisticPCA
from isthmus.estimators.semi_supervised import SemiSupervisedVAE as SemiSupervisedVAE
from isthmus.estimators.variational import DIPVAE as DIPVAE
from isthmus.estimators.variational import IWAE as IWAE
from isthmus.estimators.variational import VAE as VAE
from isthmus.estimators.variational import VAEGAN as VAEGAN
from isthmus.estimators.variational import BetaTCVAE as BetaTCVAE
from isthmus.estimators.variational import BetaVAE as BetaVAE
from isthmus.estimators.variational import ConditionalVAE as ConditionalVAE
from isthmus.estimators.variational import FactorVAE as FactorVAE
from isthmus.estimators.variational import InfoVAE as InfoVAE
from isthmus.estimators.variational import VampPriorVAE as VampPriorVAE
from isthmus.evaluation.evaluate import evaluate as evaluate
from isthmus.examples import Examples as Examples
from isthmus.fitted import FittedModel as FittedModel
from isthmus.latent_model import LatentModel as LatentModel
from isthmus.persistence.serialization import load as load
from isthmus.persistence.serialization import save as save
from isthmus.report.from_run import report_page as report_page
from isthmus.schema import Schema as Schema
from isthmus.train.functional import fit as fit

__version__: str
