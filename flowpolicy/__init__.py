"""Parts and losses for reinforcement learning with flow-matching policies."""
