"""The tables of inference: catalog, runs with steps and attempts, texts, keys, batch jobs, the audit log."""

from __future__ import annotations

from inference.core.lifecycle import RunState, StepState
from inference.models.audit import AuditEntry, Entrance
from inference.models.batches import Batch, BatchJob, BatchState, JobState
from inference.models.catalog import ModelType, OnnxModel, Plan, PlanStep, StepKind, Strategy
from inference.models.comparisons import Comparison, ComparisonCell, ComparisonState
from inference.models.generation import (
    GenerationMemory,
    GenerationRecovery,
    GenerationSession,
    GenerationStage,
    GenerationStandby,
    SessionState,
    stage_of,
)
from inference.models.keys import ApiKey
from inference.models.runs import (
    Attempt,
    Outcome,
    Redundancy,
    Run,
    RunQuerySet,
    RunStep,
)

__all__ = [
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Batch",
    "BatchJob",
    "BatchState",
    "Comparison",
    "ComparisonCell",
    "ComparisonState",
    "Entrance",
    "GenerationMemory",
    "GenerationRecovery",
    "GenerationSession",
    "GenerationStage",
    "GenerationStandby",
    "JobState",
    "ModelType",
    "OnnxModel",
    "Outcome",
    "Plan",
    "PlanStep",
    "Redundancy",
    "Run",
    "RunQuerySet",
    "RunState",
    "RunStep",
    "SessionState",
    "StepKind",
    "StepState",
    "Strategy",
    "stage_of",
]
