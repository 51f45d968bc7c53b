//! The table of actions: name, help, and what each does, in one place.
//!
//! An action is one line here and its key in `keymaps/default.toml`. `in` says which context it belongs to, where it is not done everywhere. Most are done at once, with the count that was typed (`n`); those with an
//! argument say what their line is called, how it opens, and what becomes of the text typed into it. What is done is written in the words of
//! [`crate::app`], which reads the table with a macro of its own; here it is not looked at.

macro_rules! actions {
    ($read:ident) => {
        $read! {
        "Move" {
            Up "up" "One row up" => |app, n| app.move_rows(-rows(n));
            Down "down" "One row down" => |app, n| app.move_rows(rows(n));
            Left "left" "To the left: token, head or column" => |app, n| app.move_columns(-rows(n));
            Right "right" "To the right: token, head or column" => |app, n| app.move_columns(rows(n));
            First "first" "First row" => |app, _| app.move_to_edge(false);
            Last "last" "Last row" => |app, _| app.move_to_edge(true);
            HalfPageUp "half_page_up" "Half a screen up" => |app, n| app.move_pages(-rows(n), 2);
            HalfPageDown "half_page_down" "Half a screen down" => |app, n| app.move_pages(rows(n), 2);
            PageUp "page_up" "A screen up" => |app, n| app.move_pages(-rows(n), 1);
            PageDown "page_down" "A screen down" => |app, n| app.move_pages(rows(n), 1);
            PreviousPosition "previous_position" "Select the token before" => |app, n| app.move_position(-rows(n));
            NextPosition "next_position" "Select the token after" => |app, n| app.move_position(rows(n));
            PreviousLayer "previous_layer" "Select the layer below" => |app, n| app.move_layer(-rows(n));
            NextLayer "next_layer" "Select the layer above" => |app, n| app.move_layer(rows(n));
            ScrollLeft "scroll_left" "Show the table's columns further left" => |app, n| app.scroll_columns(-rows(n));
            ScrollRight "scroll_right" "Show the table's columns further right" => |app, n| app.scroll_columns(rows(n));
            Open "open" "Go deeper: the selected row or cell in detail" => |app, _| app.open();
            Back "back" "Back to the place before" => |app, _| app.go_back(true);
            Forward "forward" "Forward again" => |app, _| app.go_back(false);
            GoTo "go_to" "Go to an address (L1.H3@5)" : "address" opens |app| TextInput::line(&app.address().to_string()), takes |app, text| app.go_to(text);
        }
        "Tabs" {
            TabPrompt "tab_prompt" "Prompt: tokens and next-token table" => |app, _| app.go_to_tab(Tab::Prompt);
            TabLens "tab_lens" "Lens: what every layer would predict" => |app, _| app.go_to_tab(Tab::Lens);
            TabHeads "tab_heads" "Heads: what attends where, and what for" => |app, _| app.go_to_tab(Tab::Heads);
            TabNeurons "tab_neurons" "Neurons: which are active, and what for" => |app, _| app.go_to_tab(Tab::Neurons);
            TabGraph "tab_graph" "Graph: which units carried the target" => |app, _| app.go_to_tab(Tab::Graph);
            TabPatch "tab_patch" "Patch: where two prompts part" => |app, _| app.go_to_tab(Tab::Patch);
            NextTab "next_tab" "Next tab" => |app, _| app.turn_tab(1);
            PreviousTab "previous_tab" "Previous tab" => |app, _| app.turn_tab(-1);
        }
        "Question" {
            EditPrompt "edit_prompt" "Type a prompt" => |app, _| app.type_prompt();
            Target "target" "Explain this token" : "token" opens |_| TextInput::line(""), takes |app, text| app.explain(text);
            Contrast "contrast" "Compare with this token: explain the logit difference" : "token" opens |_| TextInput::line(""), takes |app, text| app.contrast_with(text);
            TargetHere "target_here" "Make the selected token the target" => |app, _| app.target_here();
            ContrastHere "contrast_here" "Make the selected token the contrast" => |app, _| app.contrast_here();
            ClearTarget "clear_target" "Back to the most probable token as target, without contrast" => |app, _| app.clear_target();
            Generate "generate" "Add the most probable token to the prompt" => |app, n| app.generate(n, None);
            Sample "sample" "Add a token drawn by probability to the prompt" => |app, n| app.sample(n);
            GenerateMany "generate_many" "Add tokens to the prompt (20, or 20 temperature=0.8 seed=7)" : "tokens" opens |_| TextInput::suggestion("20"), takes |app, text| app.generate_many(text);
            Chat "chat" "Put the prompt into the model's chat template, or take it out again" => |app, _| app.turn_chat();
            ChatAfter "chat_after" "Put the prompt into the chat template, after what the system says" : "the system says" opens |_| TextInput::line(""), takes |app, text| app.chat_after(text);
            OpenModel "open_model" "Open another model" : "model" opens |app| TextInput::suggestion(&app.model_name), takes |app, text| app.open_model(text);
            Qk "qk" "What the query and key of the selected head read: why it looks where it looks" => |app, _| app.ask_why_it_looks();
            Statistic "statistic" "Shade the grid by the next statistic" => |app, n| app.next_statistic(n);
            AllLayers "all_layers" "One layer or all of them" => |app, _| app.toggle_all_layers();
        }
        "Table" {
            Mark "mark" "Mark the selected row or cell, or unmark it: edits and copies then take all that are marked" => |app, _| app.toggle_mark();
            ClearMarks "clear_marks" "Unmark everything" => |app, _| app.clear_marks();
            Search "search" "Search" : "text" opens |_| TextInput::line(""), takes |app, text| app.search_for(text);
            SearchNext "search_next" "Next match" => |app, _| app.search(true);
            SearchPrevious "search_previous" "Previous match" => |app, _| app.search(false);
            Filter "filter" "Show rows that match (activation>2 layer=3..5 \"text\")" : "filter" opens |app| TextInput::line(&app.pane(app.focus()).filter), takes |app, text| app.filter(text);
            Sort "sort" "Sort by a column" => |app, _| app.choose_order();
            ReportOrder "report_order" "Back to the report's own order" => |app, _| app.report_order();
            SortReverse "sort_reverse" "Turn the order round" => |app, _| app.reverse_order();
        }
        "Graph" {
            InGraph "in_graph" "Show the selected unit in the attribution graph" => |app, _| app.enter_graph_here();
            StrongestPath "strongest_path" "Follow what gives most (in the graph)" in Graph => |app, n| app.walk(|app| app.follow_path(n));
            NextInfluence "next_influence" "To the next unit by influence (in the graph)" in Graph => |app, n| app.walk(|app| app.step_by_influence(rows(n)));
            PreviousInfluence "previous_influence" "To the unit before by influence (in the graph)" in Graph => |app, n| app.walk(|app| app.step_by_influence(-rows(n)));
            Downstream "downstream" "What the selected node feeds, or again what feeds it" in Graph => |app, _| app.walk(App::turn);
            Root "root" "Start the tree at the selected node; once more goes back to the target" in Graph => |app, _| app.walk(App::reroot);
            GraphList "graph_list" "Nodes as a list, or as a tree again" in Graph => |app, _| app.walk(App::toggle_list);
            UnfoldTo "unfold_to" "Unfold the tree to so many levels" in Graph : "levels" opens |_| TextInput::line(""), takes |app, text| app.unfold_to(text);
            FewerNodes "fewer_nodes" "Keep fewer nodes of the graph" in Graph => |app, _| app.walk(|app| app.step_threshold(true, -1));
            MoreNodes "more_nodes" "Keep more nodes of the graph" in Graph => |app, _| app.walk(|app| app.step_threshold(true, 1));
            FewerEdges "fewer_edges" "Keep fewer edges of the graph" in Graph => |app, _| app.walk(|app| app.step_threshold(false, -1));
            MoreEdges "more_edges" "Keep more edges of the graph" in Graph => |app, _| app.walk(|app| app.step_threshold(false, 1));
            SetThresholds "thresholds" "Keep nodes and edges that carry these shares (0.9 0.99)" in Graph : "thresholds" opens |_| TextInput::line(""), takes |app, text| app.submit_thresholds(text);
            Basis "basis" "Graph of heads and MLPs, of neurons through attention, or of features" => |app, _| app.turn_basis();
            GraphContrast "graph_contrast" "Explain the token less what else was likely, or the token alone (in the graph)" in Graph => |app, _| app.turn_contrast();
            Dictionary "dictionary" "Take features from this folder of transcoders" : "folder" opens |_| TextInput::line(""), takes |app, text| app.take_features_from(text);
            OpenGraph "open_graph" "Open a graph file" : "file" opens |_| TextInput::line(""), takes |app, text| app.open_graph(text);
            SaveGraph "save_graph" "Save the graph; the ending of the name is the format (graph.json)" : "file" opens |_| TextInput::suggestion("graph.json"), takes |app, text| app.save_graph(text);
            Label "label" "Name the selected node" in Graph : "label" opens |app| TextInput::line(&app.graph_label()), takes |app, text| app.relabel(text);
            ExplainEdge "explain_edge" "Which heads carried the edge to the node above; on a tested head, which edges it carried" in Graph => |app, _| app.explain_edge();
            TestNode "test_node" "Test the selected node: change it, run the model, measure" in Graph => |app, _| app.test_selected();
            TestTop "test_top" "Test the 20 units that count most" in Graph => |app, _| app.test_top();
            TestHeads "test_heads" "Test every head: what acts through attention patterns is on no edge" in Graph => |app, _| app.test_heads();
            TestWith "test_with" "Test by the next way: zero, mean, a factor, another prompt" in Graph => |app, _| app.next_way();
            Resample "resample" "Test by what another prompt gives" in Graph : "prompt" opens |_| TextInput::line(""), takes |app, text| app.test_by_prompt(text);
            Scale "scale" "Test by multiplying with a factor (0.5)" in Graph : "factor" opens |_| TextInput::line(""), takes |app, text| app.test_by_factor(text);
            Tests "tests" "What was measured, beside the tree" in Graph => |app, _| app.toggle_tests();
            Summary "summary" "The graph in sentences, beside the tree" in Graph => |app, _| app.toggle_summary();
            Group "group" "Name the marked nodes as a group" in Graph : "name of the group" opens |_| TextInput::line(""), takes |app, text| app.group_marks(text);
            Groups "groups" "Groups and the edges between them, beside the tree" in Graph => |app, _| app.toggle_groups();
            DraftGroups "draft_groups" "Draft groups of units by their roles, keep each alone, and hold on to those that matter" in Graph => |app, _| app.draft_groups();
            Compare "compare" "The graphs of neurons and of features side by side" in Graph => |app, _| app.compare_graphs();
            KeepOnly "keep_only" "Keep only the selected group (or the marked nodes): mean-ablate every other unit of the graph" in Graph => |app, _| app.keep_only();
            Figure "figure" "The picture of the graph beside the tree: tokens across, layers up" in Graph => |app, _| app.walk(App::toggle_figure);
            Pin "pin" "Pin the selected node, or take its pin away" in Graph => |app, _| app.pin();
            Beside "beside" "Into the pane beside the tree, or back" in Graph => |app, _| app.turn_beside();
        }
        "Patch" {
            Corrupt "corrupt" "Type the other prompt of a pair: as many tokens, another answer" in Patch : "corrupt prompt" opens |app| app.corrupt_line(), takes |app, text| app.pair_with(text);
            PatchSite "patch_site" "Patch the next site: residual stream, attention, MLP, heads, neurons" in Patch => |app, n| app.next_patch_site(n);
            PatchCells "patch_cells" "Heads over all positions, or positions over all heads" in Patch => |app, _| app.turn_patch_cells();
            PatchDirection "patch_direction" "Denoise (what is enough) or noise (what is needed)" in Patch => |app, _| app.turn_patch_direction();
            PatchMetric "patch_metric" "Measure by the next metric: logit difference, probability, log-probability, KL" in Patch => |app, n| app.next_patch_metric(n);
            PatchEstimate "patch_estimate" "Find effects the next way: by runs, by attribution patching, by RelP" in Patch => |app, n| app.next_patch_estimate(n);
        }
        "Edits" {
            Edit "edit" "Change the selected or marked units and run again (=0 =mean *=2 =from:\"...\")" : "change to" opens |app| app.edit_line(), takes |app, text| app.submit_edit(text);
            ZeroUnit "zero_unit" "Set the selected or marked units to zero and run again" => |app, _| app.zero_chosen();
            ListEdits "list_edits" "List the edits" => |app, _| app.list_edits();
            ToggleEdit "toggle_edit" "Switch the selected edit off or on (in the list)" => |app, _| app.toggle_listed();
            RemoveEdit "remove_edit" "Remove the selected edit (in the list)" => |app, _| app.remove_listed();
            Undo "undo" "Undo the last change of the edits" => |app, _| app.undo();
            Redo "redo" "Redo it" => |app, _| app.redo();
        }
        "Copy" {
            YankRow "yank_row" "Copy the row" => |app, _| app.copy(Copied::Row);
            YankTable "yank_table" "Copy the whole table" => |app, _| app.copy(Copied::Table);
            YankAddress "yank_address" "Copy the address" => |app, _| app.copy(Copied::Address);
            YankJson "yank_json" "Copy the row as JSON" => |app, _| app.copy(Copied::Json);
            YankMarkdown "yank_markdown" "Copy the table as Markdown" => |app, _| app.copy(Copied::Markdown);
            YankPython "yank_python" "Copy the TransformerLens expression" => |app, _| app.copy(Copied::Python);
            YankCommand "yank_command" "Copy the command that prints this" => |app, _| app.copy(Copied::Command);
            Pipe "pipe" "Pipe the marked rows, or the selected row or cell, to a shell command" : "shell command" opens |_| TextInput::line(""), takes |app, text| app.pipe(Copied::Row, text);
            PipeTable "pipe_table" "Pipe the whole table to a shell command" : "shell command" opens |_| TextInput::line(""), takes |app, text| app.pipe(Copied::Table, text);
            Screenshot "screenshot" "Save the screen (FILE.svg, .txt or .ans)" : "file" opens |_| TextInput::suggestion("mechscope.svg"), takes |app, text| app.screenshot(text);
        }
        "Program" {
            Palette "palette" "All actions by name" => |app, _| app.list_actions(PickerKind::Palette);
            Help "help" "This help" => |app, _| app.list_actions(PickerKind::Help);
            Methods "methods" "The methods, what they show and what they assume" => |app, _| app.list_methods();
            Cancel "cancel" "Close, or stop what is running" => |app, _| app.cancel();
            AskAgain "ask_again" "Ask again what was stopped or has failed" => |app, _| app.ask_again();
            Interrupt "interrupt" "Stop what is running; quit when nothing is" => |app, _| app.interrupt();
            Quit "quit" "Quit" => |app, _| app.quit();
            TourStep "tour" "The guided tour: begin it, go on with it, take its next step" => |app, _| app.tour_step();
            TourSkip "tour_skip" "On to the tour's next stop" => |app, _| app.tour_skip();
            TourLeave "tour_leave" "Leave the tour; it goes on from there another time" => |app, _| app.tour_leave();
            Repaint "repaint" "Paint the screen again" => |app, _| app.effects.push(Effect::Repaint);
            Suspend "suspend" "Stop; fg in the shell goes on" => |app, _| app.effects.push(Effect::Suspend);
        }
        }
    };
}

pub(crate) use actions;
