import mimetypes


def register_kinds():
    mimetypes.add_type("application/x-manifest", ".manifest")


def kind_of(file_name):
    return mimetypes.guess_type(file_name)[0]
