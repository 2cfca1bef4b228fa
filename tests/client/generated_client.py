"""Makes the six calls with the client that openapi-python-client generated. Run in .venv-client."""

import sys
from uuid import UUID

from task_service_client import AuthenticatedClient
from task_service_client.api.tasks import complete_task, create_task, delete_task, get_task, list_tasks, update_task
from task_service_client.models import CompleteTask, CreateTask, ProblemDocument, UpdateTask


def main(base_url: str, user: str, token: str) -> None:
    user_id = UUID(user)
    client = AuthenticatedClient(base_url=base_url, token=token, raise_on_unexpected_status=True)
    task = create_task.sync(user_id, client=client, body=CreateTask(title="Buy milk"))
    update_task.sync(user_id, task.id, client=client, body=UpdateTask(description="Two cartons"))
    complete_task.sync(user_id, task.id, client=client, body=CompleteTask(completed=True))
    found = get_task.sync(user_id, task.id, client=client)
    assert (found.title, found.description, found.completed) == ("Buy milk", "Two cartons", True), found
    assert list_tasks.sync(user_id, client=client, completed=True) == [found]
    refused = create_task.sync(user_id, client=client, body=CreateTask(title=""))
    assert isinstance(refused, ProblemDocument)
    assert refused.errors[0].loc == ["body", "title"], refused
    assert delete_task.sync_detailed(user_id, task.id, client=client).status_code == 204
    assert list_tasks.sync(user_id, client=client) == []


if __name__ == "__main__":
    main(*sys.argv[1:])
