"""The syntax of a config as MMEngine writes it."""

import ast


class _Displays(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.expr:  # noqa: N802, the host's name
        self.generic_visit(node)
        of_dict = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        if of_dict and not node.keywords and len(node.args) == 1:
            if isinstance(node.args[0], ast.Dict):
                return node.args[0]
        return node


def parse_config(text: str) -> list[ast.stmt]:
    """Parse the text of a config into statements.

    Where keys are no names MMEngine writes ``dict({'exp-10': 1})``, which becomes the
    dictionary inside.

    Raises:
        SyntaxError: If it is no Python; also RecursionError and MemoryError.
    """
    return _Displays().visit(ast.parse(text)).body
