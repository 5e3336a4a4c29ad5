"""Optuna's storage in memory, in which a trial that counts as pruned may go on."""

from optuna.storages import InMemoryStorage
from optuna.trial import TrialState


class Memory(InMemoryStorage):
    """Optuna's own takes a pruned trial for one that has ended. Here it may be paused."""

    def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
        """Raises UpdateFinishedTrialError for a trial that is complete or has failed."""
        if trial_state != TrialState.PRUNED:
            super().check_trial_is_updatable(trial_id, trial_state)
