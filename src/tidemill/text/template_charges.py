"""Weaves the charges of a budget into a chat template's syntax tree.

Owns which places of a template need one; what a charge costs and who keeps the account is the sandbox's business.
"""

from jinja2 import nodes

TURN_CHARGE = 256
"""For a turn of a loop or a call of a macro, beside the text that it puts out."""


def _charge(amount: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute("charge"), [nodes.Const(amount)], [], None, None)


def weave_charges(source: nodes.Template) -> None:
    """Charge each turn of a loop, each macro's call, each literal text put out, and bound some operators.

    What runs again and again is the body of a loop or of a macro, so that these are the only places that need a charge.
    """
    loops: list[nodes.For | nodes.Macro | nodes.CallBlock] = [
        *source.find_all(nodes.For),
        *source.find_all(nodes.Macro),
        *source.find_all(nodes.CallBlock),
    ]
    for loop in loops:
        literal = sum(len(data.data) for output in loop.body for data in _own_data(output))
        loop.body.insert(0, nodes.Output([_charge(TURN_CHARGE + literal)]))
        if isinstance(loop, nodes.For) and loop.test is not None:
            loop.test = nodes.And(nodes.Not(_charge(TURN_CHARGE)), loop.test)
    _bind_operators(source)
    assert source.environment is not None
    source.set_environment(source.environment)


def _own_data(node: nodes.Node) -> list[nodes.TemplateData]:
    """Literal text that one turn of the body can put out (branches all counted; inner loops count their own)."""
    if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
        return []
    if isinstance(node, nodes.TemplateData):
        return [node]
    return [data for child in node.iter_child_nodes() for data in _own_data(child)]


def _bind_operators(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    _bind_operators(item)
                    value[index] = _bounded(item)
        elif isinstance(value, nodes.Node):
            _bind_operators(value)
            setattr(node, field, _bounded(value))


def _bounded(node: nodes.Node) -> nodes.Node:
    """The node with its bound, if it is an operator that the sandbox does not intercept: `~`, a slice, a comparison."""
    if isinstance(node, nodes.Concat):
        target = nodes.EnvironmentAttribute("concat_bounded")
        return nodes.Call(target, node.nodes, [], None, None, lineno=node.lineno)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        bounds = [bound or nodes.Const(None) for bound in (node.arg.start, node.arg.stop, node.arg.step)]
        target = nodes.EnvironmentAttribute("slice_bounded")
        return nodes.Call(target, [node.node, *bounds], [], None, None, lineno=node.lineno)
    if isinstance(node, nodes.Compare):
        return nodes.And(nodes.Not(_charge(1)), node, lineno=node.lineno)
    return node
