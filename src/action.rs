//! The one list of actions: everything that can be done, by name.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use anyhow::{Error, Result, bail};

/// What an action's argument is, for those that take one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// None.
    No,
    /// Asked for in a line when the palette was not given one; the word names it.
    Asked(&'static str),
}

macro_rules! actions {
    ($($group:literal { $($variant:ident $name:literal $about:literal $(: $argument:literal)?;)* })*) => {
        /// Something that can be done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action {
            $($(#[doc = $about] $variant,)*)*
        }

        impl Action {
            /// Every action, in the order of the help.
            pub const ALL: &[Action] = &[$($(Action::$variant,)*)*];

            /// Its name in keymaps and the palette.
            pub fn name(self) -> &'static str {
                match self { $($(Action::$variant => $name,)*)* }
            }

            /// What it does, in a line.
            pub fn about(self) -> &'static str {
                match self { $($(Action::$variant => $about,)*)* }
            }

            /// The heading it stands under in the help.
            pub fn group(self) -> &'static str {
                match self { $($(Action::$variant => $group,)*)* }
            }

            /// Whether it takes an argument.
            pub fn argument(self) -> Argument {
                match self { $($(Action::$variant => actions!(@ $($argument)?),)*)* }
            }
        }
    };
    (@) => { Argument::No };
    (@ $word:literal) => { Argument::Asked($word) };
}

actions! {
    "Move" {
        Up "up" "One row up";
        Down "down" "One row down";
        Left "left" "To the left: token, head or column";
        Right "right" "To the right: token, head or column";
        First "first" "First row";
        Last "last" "Last row";
        HalfPageUp "half_page_up" "Half a screen up";
        HalfPageDown "half_page_down" "Half a screen down";
        PageUp "page_up" "A screen up";
        PageDown "page_down" "A screen down";
        PreviousPosition "previous_position" "Select the token before";
        NextPosition "next_position" "Select the token after";
        PreviousLayer "previous_layer" "Select the layer below";
        NextLayer "next_layer" "Select the layer above";
        ScrollLeft "scroll_left" "Show the table's columns further left";
        ScrollRight "scroll_right" "Show the table's columns further right";
        Open "open" "Go deeper: the selected row or cell in detail";
        Back "back" "Back to the place before";
        Forward "forward" "Forward again";
        GoTo "go_to" "Go to an address (L1.H3@5)" : "address";
    }
    "Tabs" {
        TabPrompt "tab_prompt" "Prompt: tokens and next-token table";
        TabLens "tab_lens" "Lens: what every layer would predict";
        TabHeads "tab_heads" "Heads: what attends where, and what for";
        TabNeurons "tab_neurons" "Neurons: which are active, and what for";
        TabGraph "tab_graph" "Graph: which units carried the target";
        NextTab "next_tab" "Next tab";
        PreviousTab "previous_tab" "Previous tab";
    }
    "Question" {
        EditPrompt "edit_prompt" "Type a prompt";
        Target "target" "Explain this token" : "token";
        Contrast "contrast" "Compare with this token: explain the logit difference" : "token";
        TargetHere "target_here" "Make the selected token the target";
        ContrastHere "contrast_here" "Make the selected token the contrast";
        ClearTarget "clear_target" "Back to the most probable token as target, without contrast";
        Generate "generate" "Add the most probable token to the prompt";
        Sample "sample" "Add a token drawn by probability to the prompt";
        GenerateMany "generate_many" "Add tokens to the prompt (20, or 20 temperature=0.8 seed=7)" : "tokens";
        OpenModel "open_model" "Open another model" : "model";
        Qk "qk" "What the query and key of the selected head read: why it looks where it looks";
        Statistic "statistic" "Shade the grid by the next statistic";
        AllLayers "all_layers" "One layer or all of them";
    }
    "Table" {
        Mark "mark" "Mark the selected row or cell, or unmark it: edits and copies then take all that are marked";
        ClearMarks "clear_marks" "Unmark everything";
        Search "search" "Search" : "text";
        SearchNext "search_next" "Next match";
        SearchPrevious "search_previous" "Previous match";
        Filter "filter" "Show rows that match (activation>2 layer=3..5 \"text\")" : "filter";
        Sort "sort" "Sort by a column";
        ReportOrder "report_order" "Back to the report's own order";
        SortReverse "sort_reverse" "Turn the order round";
    }
    "Graph" {
        InGraph "in_graph" "Show the selected unit in the attribution graph";
        StrongestPath "strongest_path" "Follow what gives most (in the graph)";
        NextInfluence "next_influence" "To the next unit by influence (in the graph)";
        PreviousInfluence "previous_influence" "To the unit before by influence (in the graph)";
        Downstream "downstream" "What the selected node feeds, or again what feeds it";
        Root "root" "Start the tree at the selected node; once more goes back to the target";
        GraphList "graph_list" "Nodes as a list, or as a tree again";
        UnfoldTo "unfold_to" "Unfold the tree to so many levels" : "levels";
        FewerNodes "fewer_nodes" "Keep fewer nodes of the graph";
        MoreNodes "more_nodes" "Keep more nodes of the graph";
        FewerEdges "fewer_edges" "Keep fewer edges of the graph";
        MoreEdges "more_edges" "Keep more edges of the graph";
        SetThresholds "thresholds" "Keep nodes and edges that carry these shares (0.9 0.99)" : "thresholds";
        Basis "basis" "Graph of neurons, or of features";
        Dictionary "dictionary" "Take features from this folder of transcoders" : "folder";
        OpenGraph "open_graph" "Open a graph file" : "file";
        SaveGraph "save_graph" "Save the graph (FILE.json, .dot, .tsv, .svg or .txt)" : "file";
        Label "label" "Name the selected node" : "label";
        ExplainEdge "explain_edge" "Which heads carried the edge to the node above; on a tested head, which edges it carried";
        TestNode "test_node" "Test the selected node: change it, run the model, measure";
        TestTop "test_top" "Test the 20 units with the most influence";
        TestHeads "test_heads" "Test every head: what acts through attention patterns is on no edge";
        TestWith "test_with" "Test by the next way: zero, mean, a factor, another prompt";
        Resample "resample" "Test by what another prompt gives" : "prompt";
        Scale "scale" "Test by multiplying with a factor (0.5)" : "factor";
        Tests "tests" "What was measured, beside the tree";
        Group "group" "Name the marked nodes as a group" : "name of the group";
        Groups "groups" "Groups and the edges between them, beside the tree";
        DraftGroups "draft_groups" "Group the units that read the same and feed the same, with what speaks for it";
        Compare "compare" "The graphs of neurons and of features side by side";
        KeepOnly "keep_only" "Keep only the selected group (or the marked nodes): mean-ablate every other unit of the graph";
        Pin "pin" "Pin the selected node, or take its pin away";
        Beside "beside" "Into the pane beside the tree, or back";
    }
    "Edits" {
        Edit "edit" "Change the selected or marked units and run again (=0 =mean *=2 =from:\"...\")" : "edit";
        ZeroUnit "zero_unit" "Set the selected or marked units to zero and run again";
        ListEdits "list_edits" "List the edits";
        ToggleEdit "toggle_edit" "Switch the selected edit off or on (in the list)";
        RemoveEdit "remove_edit" "Remove the selected edit (in the list)";
        Undo "undo" "Undo the last change of the edits";
        Redo "redo" "Redo it";
    }
    "Copy" {
        YankRow "yank_row" "Copy the row";
        YankTable "yank_table" "Copy the whole table";
        YankAddress "yank_address" "Copy the address";
        YankJson "yank_json" "Copy the row as JSON";
        YankMarkdown "yank_markdown" "Copy the table as Markdown";
        YankPython "yank_python" "Copy the TransformerLens expression";
        YankCommand "yank_command" "Copy the command that prints this";
        Pipe "pipe" "Pipe the marked rows, or the selected row or cell, to a shell command" : "shell command";
        PipeTable "pipe_table" "Pipe the whole table to a shell command" : "shell command";
        Screenshot "screenshot" "Save the screen (FILE.svg, .txt or .ans)" : "file";
    }
    "Program" {
        Palette "palette" "All actions by name";
        Help "help" "This help";
        Methods "methods" "The methods, what they show and what they assume";
        Cancel "cancel" "Close, or stop what is running";
        Interrupt "interrupt" "Stop what is running; quit when nothing is";
        Quit "quit" "Quit";
        Repaint "repaint" "Paint the screen again";
        Suspend "suspend" "Stop; fg in the shell goes on";
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Action::ALL.iter().find(|a| a.name() == text) {
            Some(action) => Ok(*action),
            None => {
                let near = Action::ALL.iter().map(|a| a.name()).filter(|n| n.split('_').any(|w| text.contains(w)));
                let near: Vec<&str> = near.take(4).collect();
                let hint = if near.is_empty() { "mechscope keys lists them".to_owned() } else { near.join(", ") };
                bail!("unknown action {text:?}; accepted: {hint}")
            }
        }
    }
}
