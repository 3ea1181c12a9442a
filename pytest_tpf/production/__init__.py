"""The Token Production Function: model cost, hardware peaks, ceilings, binding constraint. Pure."""
