"""The paper's own tables and figures (Feng et al., CLOUD 2018) beside what the law and Sapflow make of them."""
