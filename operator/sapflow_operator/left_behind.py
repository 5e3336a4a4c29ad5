"""What a deleted resource leaves behind where it could not be cleaned up, as events. Pure."""

from sapflow.errors import SapflowError
from sapflow.objects import keys
from sapflow_operator.actions import Action, Delete, Event, LeaveSharedData, RemoveObjects, RevokeCredentials


def event(action: Action, error: SapflowError) -> Event:
    """The event that says what is left, and where, because the action failed."""
    match action:
        case RemoveObjects(uid, place, _):
            where = f"s3://{place.bucket}/{keys.job(uid)} at {place.endpoint}"
            return Event("ObjectsLeft", f"what the job has in {where} is left there: {error}", "Warning")
        case LeaveSharedData(uid, place, digest):
            where = f"s3://{place.bucket}/{keys.area(digest)} at {place.endpoint}"
            message = f"the data in {where}, and that the job uses it, are left there: {error}"
            return Event("ObjectsLeft", message, "Warning")
        case RevokeCredentials():
            return not_revoked(action, error)
        case Delete(kind, name):
            message = f"{kind} {name} is left for the garbage collector: {error}"
            return Event("ObjectsLeft", message, "Warning")
        case _:
            return Event("ObjectsLeft", f"not everything of the job is removed: {error}", "Warning")


def not_revoked(action: RevokeCredentials, error: SapflowError) -> Event:
    """The event for credentials that stay valid until they expire."""
    end = "by themselves" if action.expires is None else f"by themselves at {action.expires.isoformat()}"
    message = f"the job's credentials for {action.place.endpoint} are not revoked and end {end}: {error}"
    return Event("CredentialsNotRevoked", message, "Warning")
