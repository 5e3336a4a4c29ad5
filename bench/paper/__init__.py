"""The paper's tables and figures (Feng et al., CLOUD 2018) beside Sapflow's predictions and measurements."""
