"""Parses real responses with the models that datamodel-codegen generated. Run in .venv-client."""

import sys

import httpx
from models import CreateTask, ProblemDocument, Task, UpdateTask


def main(base_url: str, user: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{base_url}/api/{user}", headers=headers) as client:
        created = client.post("/tasks", json=CreateTask(title="Buy milk").model_dump())
        task = Task.model_validate_json(created.content)
        change = UpdateTask(description="Two cartons").model_dump(exclude_unset=True)
        updated = Task.model_validate_json(client.put(f"/tasks/{task.id}", json=change).content)
        assert (updated.title, updated.description) == ("Buy milk", "Two cartons"), updated
        refused = ProblemDocument.model_validate_json(client.post("/tasks", json={}).content)
        assert (refused.status, refused.errors[0].loc) == (422, ["body", "title"]), refused


if __name__ == "__main__":
    main(*sys.argv[1:])
